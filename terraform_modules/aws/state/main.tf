data "aws_partition" "here" {}

data "aws_caller_identity" "here" {}

data "aws_region" "here" {
  region = var.location.region
}

locals {
  partition = data.aws_partition.here.partition
  account   = data.aws_caller_identity.here.account_id
  region    = data.aws_region.here.region
  arn       = "arn:${local.partition}:s3:::${var.name}"

  # Everybody, all actions, all objects: it takes rights away and gives none.
  only_tls = {
    for name in compact([var.name, local.logs]) : name => {
      Sid       = "OnlyTLS"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = ["arn:${local.partition}:s3:::${name}", "arn:${local.partition}:s3:::${name}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }
  }
}

resource "aws_s3_bucket" "bucket" {
  #checkov:skip=CKV_AWS_18:access logs cost money; hardened turns them on
  #checkov:skip=CKV_AWS_144:a state is of use only with what it describes, in the same region
  #checkov:skip=CKV_AWS_145:encrypted with S3's own key; a key of the account costs money and hardened turns it on
  #checkov:skip=CKV2_AWS_62:nothing listens to events of a bucket
  bucket        = var.name
  region        = var.location.region
  force_destroy = var.allow_data_loss
  tags          = var.labels
}

resource "aws_s3_bucket_public_access_block" "bucket" {
  bucket                  = aws_s3_bucket.bucket.bucket
  region                  = var.location.region
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

# No access control lists: policies alone say who may do what.
resource "aws_s3_bucket_ownership_controls" "bucket" {
  bucket = aws_s3_bucket.bucket.bucket
  region = var.location.region

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_versioning" "bucket" {
  bucket = aws_s3_bucket.bucket.bucket
  region = var.location.region

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "bucket" {
  bucket = aws_s3_bucket.bucket.bucket
  region = var.location.region

  rule {
    bucket_key_enabled = var.hardened # one call of KMS for many objects

    apply_server_side_encryption_by_default {
      sse_algorithm     = var.hardened ? "aws:kms" : "AES256"
      kms_master_key_id = var.hardened ? aws_kms_key.bucket[0].arn : null
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "bucket" {
  bucket = aws_s3_bucket.bucket.bucket
  region = var.location.region

  rule {
    id     = "old-versions"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      newer_noncurrent_versions = var.cloud.old_versions
      noncurrent_days           = var.cloud.old_version_days
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = 2
    }
  }

  depends_on = [aws_s3_bucket_versioning.bucket]
}

resource "aws_s3_bucket_policy" "bucket" {
  bucket = aws_s3_bucket.bucket.bucket
  region = var.location.region
  policy = jsonencode({ Version = "2012-10-17", Statement = [local.only_tls[var.name]] })

  depends_on = [aws_s3_bucket_public_access_block.bucket]
}
