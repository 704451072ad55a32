# Known in the plan already; who uses one still waits for the pool's infrastructure.

output "name" {
  description = "Name of the Prefect work pool."
  value       = var.name
  depends_on  = [google_project_iam_member.worker, google_service_account_iam_member.acts_as, google_cloud_run_v2_worker_pool.worker]
}

output "type" {
  description = "Prefect's type of the work pool."
  value       = var.type
  depends_on  = [google_project_iam_member.worker]
}

output "job_variables" {
  description = "Defaults of the pool's job variables, for every run, as the worker of prefect_gcp names them."
  value = merge(
    {
      env         = merge(var.server.api_url == null ? {} : { PREFECT_API_URL = var.server.api_url }, var.env)
      labels      = local.labels
      region      = var.location.region
      credentials = { project = var.location.project }
    },
    { for name, value in var.cloud.job : name => value if value != null },
    var.image == null ? {} : { image = var.image },
    var.server.api_key_secret == null ? {} : { prefect_api_key_secret = { secret = var.server.api_key_secret, version = "latest" } },
    var.server.auth_string_secret == null ? {} : { prefect_api_auth_string_secret = { secret = var.server.auth_string_secret, version = "latest" } },
    local.connector == null ? {} : { vpc_connector_name = local.connector },
  )
  depends_on = [google_secret_manager_secret_iam_member.server, google_vpc_access_connector.runs]
}

output "pipeline_job_variables" {
  description = "Job variables by pipeline, on top of the pool's: the service account of its runs, its label and its image."
  value = {
    for name, pipeline in var.pipelines : name => merge(
      {
        service_account_name = local.emails[name]
        labels               = merge(local.labels, { glacier-pipeline = substr(replace(lower(name), "/[^a-z0-9_-]/", "_"), 0, 63) })
      },
      pipeline.image == null ? {} : { image = pipeline.image },
    )
  }
  depends_on = [google_service_account_iam_member.acts_as, google_secret_manager_secret_iam_member.server]
}

output "identities" {
  description = "The service account of each pipeline's runs, as readers and writers of a bucket and readers of secrets take it."
  value       = tomap({ for name, email in local.emails : name => "serviceAccount:${email}" })
  depends_on  = [google_service_account.run]
}

output "worker_identity" {
  description = "What starts runs, as readers of a registry take it."
  value       = local.worker
  depends_on  = [google_service_account.worker]
}
