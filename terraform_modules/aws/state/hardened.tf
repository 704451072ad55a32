# What costs money: a key of the account's own, and access logs.
locals {
  logs = var.hardened && var.cloud.log_bucket == null ? "${var.name}-logs" : null
}

resource "aws_kms_key" "bucket" {
  count                   = var.hardened ? 1 : 0
  region                  = var.location.region
  description             = "Encrypts the states in ${var.name}."
  enable_key_rotation     = true
  deletion_window_in_days = 30
  tags                    = merge(var.labels, { glacier-keeps = "state" }) # by which identity knows what deploying may not touch

  # In the policy of a key, * is that key. The account's administrators manage it; who may use it has that in its own policy.
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "Account"
      Effect    = "Allow"
      Principal = { AWS = "arn:${local.partition}:iam::${local.account}:root" }
      Action    = "kms:*"
      Resource  = "*"
    }]
  })
}

resource "aws_s3_bucket_logging" "bucket" {
  count         = var.hardened ? 1 : 0
  bucket        = aws_s3_bucket.bucket.bucket
  region        = var.location.region
  target_bucket = local.logs == null ? var.cloud.log_bucket : aws_s3_bucket_policy.logs[0].bucket
  target_prefix = "${var.name}/"
}

resource "aws_s3_bucket" "logs" {
  #checkov:skip=CKV_AWS_18:it holds the logs, and logging its own would not end
  #checkov:skip=CKV_AWS_144:logs are not replicated
  #checkov:skip=CKV_AWS_145:S3 delivers logs only to a bucket that is encrypted with its own key
  #checkov:skip=CKV2_AWS_62:nothing listens to events of a bucket
  count         = local.logs == null ? 0 : 1
  bucket        = local.logs
  region        = var.location.region
  force_destroy = var.allow_data_loss
  tags          = var.labels

  lifecycle {
    precondition {
      condition     = length(coalesce(local.logs, "none")) <= 63
      error_message = "S3: a bucket's name has 63 characters at most, so NAME-logs is too long; give cloud.log_bucket."
    }
  }
}

resource "aws_s3_bucket_public_access_block" "logs" {
  count                   = local.logs == null ? 0 : 1
  bucket                  = aws_s3_bucket.logs[0].bucket
  region                  = var.location.region
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "logs" {
  count  = local.logs == null ? 0 : 1
  bucket = aws_s3_bucket.logs[0].bucket
  region = var.location.region

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_versioning" "logs" {
  count  = local.logs == null ? 0 : 1
  bucket = aws_s3_bucket.logs[0].bucket
  region = var.location.region

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "logs" {
  count  = local.logs == null ? 0 : 1
  bucket = aws_s3_bucket.logs[0].bucket
  region = var.location.region

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "logs" {
  count  = local.logs == null ? 0 : 1
  bucket = aws_s3_bucket.logs[0].bucket
  region = var.location.region

  rule {
    id     = "logs"
    status = "Enabled"

    filter {}

    expiration {
      days = 365
    }
    noncurrent_version_expiration {
      noncurrent_days = 30
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = 2
    }
  }

  depends_on = [aws_s3_bucket_versioning.logs]
}

resource "aws_s3_bucket_policy" "logs" {
  count  = local.logs == null ? 0 : 1
  bucket = aws_s3_bucket.logs[0].bucket
  region = var.location.region

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      local.only_tls[local.logs],
      {
        Sid       = "Deliver"
        Effect    = "Allow"
        Principal = { Service = "logging.s3.amazonaws.com" }
        Action    = ["s3:PutObject"]
        Resource  = ["arn:${local.partition}:s3:::${local.logs}/${var.name}/*"] # S3 names them by the time
        Condition = {
          StringEquals = { "aws:SourceAccount" = local.account }
          ArnEquals    = { "aws:SourceArn" = local.arn }
        }
      },
    ]
  })

  depends_on = [aws_s3_bucket_public_access_block.logs]
}
