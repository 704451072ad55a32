output "settings" {
  description = "What SparkExecutor needs, for all pipelines: service and application_id."
  value       = { service = "emr-serverless", application_id = aws_emrserverless_application.spark.id }
  depends_on  = [aws_iam_role_policy.submitter]
}

output "pipeline_settings" {
  description = "What it needs by pipeline, on top: role_arn."
  value       = { for name, arn in local.role_arns : name => { role_arn = arn } }
  depends_on  = [aws_iam_role.pipeline, aws_iam_role_policy.pipeline]
}

output "identities" {
  description = "ARN of the role of each pipeline's jobs, by pipeline."
  value       = local.role_arns
  depends_on  = [aws_iam_role.pipeline, aws_iam_role_policy.pipeline]
}
