# Known in the plan already; who uses one still waits for the bucket and its grants.

output "name" {
  description = "Name of the bucket."
  value       = var.name
  depends_on  = [google_storage_bucket.bucket, google_storage_bucket_iam_member.whole, google_storage_managed_folder_iam_member.prefix, google_storage_bucket_iam_member.name, google_storage_bucket_iam_member.metadata]
}

output "uri" {
  description = "Address of the bucket, as Glacier's sources and sinks spell it."
  value       = "gs://${var.name}"
  depends_on  = [google_storage_bucket.bucket, google_storage_bucket_iam_member.whole, google_storage_managed_folder_iam_member.prefix, google_storage_bucket_iam_member.name, google_storage_bucket_iam_member.metadata]
}

output "id" {
  description = "Id of the bucket in Google Cloud, which is its name."
  value       = var.name
  depends_on  = [google_storage_bucket.bucket]
}
