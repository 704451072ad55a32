# Known in the plan already; who uses one still waits for the pool's infrastructure.

output "name" {
  description = "Name of the Prefect work pool."
  value       = var.name
  depends_on  = [terraform_data.work_pool]
}

output "type" {
  description = "Prefect's type of the work pool."
  value       = var.type
  depends_on  = [terraform_data.work_pool]
}

output "job_variables" {
  description = "Defaults of the pool's job variables, for every run."
  value       = { env = var.env }
  depends_on  = [terraform_data.work_pool]
}

output "pipeline_job_variables" {
  description = "Job variables by pipeline, on top of the pool's: in a cloud the role of its runs, here none."
  value       = { for name, pipeline in var.pipelines : name => {} }
  depends_on  = [terraform_data.work_pool]
}
