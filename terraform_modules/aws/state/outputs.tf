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

output "backend" {
  description = "Settings of Terraform's backend s3, without the key of a state: it locks by a file beside the state."
  value = {
    bucket       = var.name
    region       = local.region
    encrypt      = true
    use_lockfile = true
  }
  depends_on = [
    aws_s3_bucket_lifecycle_configuration.bucket,
    aws_s3_bucket_ownership_controls.bucket,
    aws_s3_bucket_policy.bucket,
    aws_s3_bucket_server_side_encryption_configuration.bucket,
  ]
}
