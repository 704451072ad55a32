# Known in the plan already; who uses one still waits for accounts and rights.

output "settings" {
  description = "What SparkExecutor needs, for all pipelines: service, project_id, region, and subnetwork, container_image and archive if there are."
  value = merge(
    { service = "dataproc-serverless", project_id = var.location.project, region = var.location.region },
    var.network == null ? {} : { subnetwork = sort(var.network.subnets)[0] },
    var.cloud.container_image == null ? {} : { container_image = var.cloud.container_image },
    var.cloud.archive == null ? {} : { archive = var.cloud.archive },
  )
  depends_on = [google_project_iam_member.submit, google_service_account_iam_member.acts_as]
}

output "pipeline_settings" {
  description = "What SparkExecutor needs by pipeline, on top: service_account."
  value       = tomap({ for name, email in local.emails : name => { service_account = email } })
  depends_on  = [google_project_iam_member.run, google_project_iam_member.staging]
}

output "identities" {
  description = "The service account of each pipeline's jobs, as readers and writers of a bucket take it."
  value       = tomap({ for name, email in local.emails : name => "serviceAccount:${email}" })
  depends_on  = [google_service_account.job]
}
