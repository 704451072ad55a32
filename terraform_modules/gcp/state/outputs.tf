# Known in the plan already; who uses one still waits for the bucket.

output "name" {
  description = "Name of the bucket."
  value       = var.name
  depends_on  = [google_storage_bucket.state]
}

output "id" {
  description = "Id of the bucket, which is its name, as the module identity takes it."
  value       = var.name
  depends_on  = [google_storage_bucket.state]
}

output "backend" {
  description = "Settings of Terraform's backend gcs, which locks by itself; without the prefix of a state."
  value       = { bucket = var.name }
  depends_on  = [google_storage_bucket.state]
}
