output "name" {
  description = "Name of the policy, the principal and the scope."
  value       = local.name
}

output "policy_id" {
  description = "Id of the cluster policy, as policy_id of new clusters; null if runs are on no clusters of their own."
  value       = one(databricks_cluster_policy.runs[*].id)
  depends_on  = [databricks_permissions.policy]
}

output "identity" {
  description = "Application id of the service principal that submits runs; null with submitters."
  value       = local.identity
}

output "identities" {
  description = "Application ids of all principals that submit runs: by the names of submitters, else that of runs."
  value       = local.identities
}

output "secret_scope" {
  description = "Name of the secret scope that the principal reads."
  value       = databricks_secret_scope.runs.name
  depends_on  = [databricks_secret_acl.runs]
}
