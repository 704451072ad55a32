output "plan" {
  description = "What a workflow needs to plan: the role that it becomes."
  value       = { role_arn = "${local.iam}:role/${var.name}-plan" }
  depends_on  = [aws_iam_role_policy_attachment.part]
}

output "deploy" {
  description = "What a workflow needs to deploy: the role that it becomes."
  value       = { role_arn = "${local.iam}:role/${var.name}-deploy" }
  depends_on  = [aws_iam_role_policy_attachment.part]
}

output "boundary" {
  description = "ARN of the permissions boundary, which every role that deploying makes must have."
  value       = local.boundary_arn
  depends_on  = [aws_iam_policy.boundary]
}

output "provider_id" {
  description = "ARN of GitHub's provider in the account."
  value       = local.provider_arn
  depends_on  = [aws_iam_openid_connect_provider.github]
}
