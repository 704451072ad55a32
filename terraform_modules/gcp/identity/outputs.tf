# Known in the plan already; who uses one still waits for the trust and the rights.

output "plan" {
  description = "What a workflow needs to become the account that only looks."
  value = {
    workload_identity_provider = local.provider
    service_account            = local.emails["plan"]
  }
  depends_on = [google_service_account_iam_member.plan, google_iam_workload_identity_pool_provider.github, google_project_iam_member.account, google_storage_bucket_iam_member.state]
}

output "deploy" {
  description = "What a workflow needs to become the account that deploys."
  value = {
    workload_identity_provider = local.provider
    service_account            = local.emails["deploy"]
  }
  depends_on = [google_service_account_iam_member.deploy, google_iam_workload_identity_pool_provider.github, google_project_iam_member.account, google_storage_bucket_iam_member.state]
}

output "boundary" {
  description = "None: Google Cloud has no boundary on an account; deploy can neither make roles nor give away others than those made here."
  value       = null
}

output "provider_id" {
  description = "Id of the provider of the workload identity pool."
  value       = local.provider
  depends_on  = [google_iam_workload_identity_pool_provider.github]
}

output "roles" {
  description = "The roles that modules grant, made here, by use: read, write and metadata for cloud.roles of a bucket, worker for cloud.worker_role of a work pool, spark_run, spark_staging and spark_submit for cloud.roles of spark."
  value       = tomap({ for use in keys(local.given) : use => local.role_names[use] if contains(keys(local.roles), use) })
  depends_on  = [google_project_iam_custom_role.role]
}
