# Known in the plan already; who uses one still waits for the folder.

output "name" {
  description = "Name of the bucket."
  value       = var.name
  depends_on  = [terraform_data.bucket]
}

output "uri" {
  description = "Address of the bucket, as Glacier's sources and sinks spell it."
  value       = "file://${join("/", [for part in split("/", abspath(local.path)) : replace(urlencode(part), "+", "%20")])}"
  depends_on  = [terraform_data.bucket]
}

output "path" {
  description = "Absolute path of the bucket's folder."
  value       = abspath(local.path)
  depends_on  = [terraform_data.bucket]
}

output "readers" {
  description = "Who may read which prefixes."
  value       = var.readers
  depends_on  = [terraform_data.bucket]
}

output "writers" {
  description = "Who may write which prefixes."
  value       = var.writers
  depends_on  = [terraform_data.bucket]
}
