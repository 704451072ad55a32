# Known in the plan already; who uses one still waits for the repository and its grants.

output "name" {
  description = "Name of the repository."
  value       = var.name
  depends_on  = [google_artifact_registry_repository.images]
}

output "url" {
  description = "Address of the repository: an image is URL/NAME:TAG."
  value       = "${var.location.region}-docker.pkg.dev/${replace(var.location.project, ":", "/")}/${var.name}"
  depends_on  = [google_artifact_registry_repository.images, google_artifact_registry_repository_iam_member.grant]
}

output "id" {
  description = "Id of the repository."
  value       = "projects/${var.location.project}/locations/${var.location.region}/repositories/${var.name}"
  depends_on  = [google_artifact_registry_repository.images]
}
