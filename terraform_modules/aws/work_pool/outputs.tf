# Known in the plan as far as the network is; who uses one still waits until runs can be started.

output "name" {
  description = "Name of the Prefect work pool."
  value       = var.name
  depends_on  = [aws_ecs_cluster_capacity_providers.pool, aws_ecs_service.worker]
}

output "type" {
  description = "Prefect's type of the work pool."
  value       = var.type
  depends_on  = [aws_ecs_cluster_capacity_providers.pool]
}

output "job_variables" {
  description = "Defaults of the pool's job variables, for every run, as prefect_aws names them."
  value = merge(concat(
    [{
      env                       = var.env
      labels                    = var.labels
      cluster                   = local.cluster_arn
      family                    = local.base
      launch_type               = var.cloud.launch_type
      execution_role_arn        = local.execution_arn
      configure_cloudwatch_logs = true
      cloudwatch_logs_options   = { awslogs-group = local.log_group, awslogs-create-group = "false" }
    }],
    [for image in var.image[*] : { image = image }],
    [for cpu in var.cloud.cpu[*] : { cpu = cpu }],
    [for memory in var.cloud.memory[*] : { memory = memory }],
    [for arn in lookup(local.secret_arns, "PREFECT_API_KEY", null)[*] : { prefect_api_key_secret_arn = arn }],
    [for arn in lookup(local.secret_arns, "PREFECT_API_AUTH_STRING", null)[*] : { prefect_api_auth_string_secret_arn = arn }],
    [
      for network in var.network[*] : {
        vpc_id = network.id
        network_configuration = {
          subnets        = network.subnets
          securityGroups = network.security_groups
          assignPublicIp = var.cloud.public_address ? "ENABLED" : "DISABLED"
        }
      }
    ],
  )...)
  depends_on = [aws_ecs_cluster_capacity_providers.pool, aws_cloudwatch_log_group.pool, aws_iam_role_policy.execution]
}

output "pipeline_job_variables" {
  description = "Job variables by pipeline, on top of the pool's: the role of its runs, its family of task definitions, its tags, its image if it has one."
  value = {
    for name, pipeline in var.pipelines : name => merge(
      {
        family        = local.roles[name]
        labels        = local.tags[name]
        task_role_arn = local.role_arns[name]
      },
      [for image in pipeline.image[*] : { image = image }]...
    )
  }
  depends_on = [aws_iam_role_policy.pipeline]
}

output "identities" {
  description = "ARN of the role of each pipeline's runs, by pipeline."
  value       = local.role_arns
  depends_on  = [aws_iam_role.pipeline, aws_iam_role_policy.pipeline]
}

output "worker_identity" {
  description = "ARN of the role that starts runs; null where there is neither a service nor cloud.worker_principals."
  value       = local.worker ? local.worker_arn : null
  depends_on  = [aws_iam_role_policy.worker]
}
