output "settings" {
  description = "What SparkExecutor needs: the service, the application, and the role of jobs if there is one pipeline; else identities has it."
  value = {
    service        = "emr-serverless"
    application_id = aws_emrserverless_application.spark.id
    role_arn       = length(local.role_arns) == 1 ? one(values(local.role_arns)) : null
  }
  depends_on = [aws_iam_role_policy.pipeline, aws_iam_role_policy.submitter]
}

output "identities" {
  description = "ARN of the role of each pipeline's jobs, by pipeline."
  value       = local.role_arns
  depends_on  = [aws_iam_role.pipeline, aws_iam_role_policy.pipeline]
}
