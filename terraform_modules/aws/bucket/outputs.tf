# Known in the plan already; who uses one still waits until the bucket is as it shall be.

output "name" {
  description = "Name of the bucket."
  value       = var.name
  depends_on = [
    aws_s3_bucket_lifecycle_configuration.bucket,
    aws_s3_bucket_ownership_controls.bucket,
    aws_s3_bucket_policy.bucket,
    aws_s3_bucket_server_side_encryption_configuration.bucket,
  ]
}

output "uri" {
  description = "Address of the bucket, as Glacier's sources and sinks spell it."
  value       = "s3://${var.name}"
  depends_on = [
    aws_s3_bucket_lifecycle_configuration.bucket,
    aws_s3_bucket_ownership_controls.bucket,
    aws_s3_bucket_policy.bucket,
    aws_s3_bucket_server_side_encryption_configuration.bucket,
  ]
}

output "id" {
  description = "ARN of the bucket."
  value       = local.arn
  depends_on = [
    aws_s3_bucket_lifecycle_configuration.bucket,
    aws_s3_bucket_ownership_controls.bucket,
    aws_s3_bucket_policy.bucket,
    aws_s3_bucket_server_side_encryption_configuration.bucket,
  ]
}
