# Known in the plan already; who uses one still waits for the secrets and their grants.

output "names" {
  description = "The name in Secret Manager of each secret, by its name."
  value       = tomap(local.stored)
  depends_on  = [google_secret_manager_secret.secret, google_secret_manager_secret_iam_member.reader]
}

output "ids" {
  description = "The id of each secret, by its name."
  value       = tomap({ for name, stored in local.stored : name => "projects/${var.location.project}/secrets/${stored}" })
  depends_on  = [google_secret_manager_secret.secret, google_secret_manager_secret_iam_member.reader]
}
