output "names" {
  description = "Names in the store, by the name in code."
  value       = local.stored
  depends_on  = [aws_secretsmanager_secret.secret, aws_secretsmanager_secret_policy.secret]
}

output "ids" {
  description = "ARNs of the secrets, by the name in code; known once they are made."
  value       = { for name in var.names : name => aws_secretsmanager_secret.secret[name].arn }
  depends_on  = [aws_secretsmanager_secret_policy.secret]
}
