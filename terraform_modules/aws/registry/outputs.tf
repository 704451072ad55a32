# Known in the plan already; who uses one still waits for the repository.

output "name" {
  description = "Name of the repository."
  value       = var.name
  depends_on  = [aws_ecr_repository.registry, aws_ecr_repository_policy.registry]
}

output "url" {
  description = "Address of the repository, to which a tag is added: URL:TAG."
  value       = "${local.account}.dkr.ecr.${local.region}.${local.partition == "aws-cn" ? "amazonaws.com.cn" : "amazonaws.com"}/${var.name}"
  depends_on  = [aws_ecr_repository.registry, aws_ecr_repository_policy.registry]
}

output "id" {
  description = "ARN of the repository."
  value       = "arn:${local.partition}:ecr:${local.region}:${local.account}:repository/${var.name}"
  depends_on  = [aws_ecr_repository.registry, aws_ecr_repository_policy.registry]
}
