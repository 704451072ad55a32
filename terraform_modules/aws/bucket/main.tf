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

  # Folders in which a sink leaves what it has not published: beside its file. S3 matches prefixes only, so each is named.
  folders = toset(concat([""], flatten([
    for writer in var.writers : [for prefix in writer.prefixes : regex("^(?:.*/)?", prefix) if prefix != local.previews]
  ])))
  previews = ".glacier/preview/"
  expiring = merge(anytrue([for writer in var.writers : contains(writer.prefixes, local.previews)]) ? { (local.previews) = var.lifecycle_days.old_versions } : {}, [
    for folder in local.folders : {
      "${folder}.glacier/exchange/" = var.lifecycle_days.exchange
      "${folder}.glacier/cache/"    = var.lifecycle_days.exchange
      "${folder}.glacier/writes/"   = var.lifecycle_days.uploads
    }
  ]...)
}

resource "aws_s3_bucket" "bucket" {
  #checkov:skip=CKV_AWS_18:access logs cost money; hardened turns them on
  #checkov:skip=CKV_AWS_144:a replica costs as much as the bucket; replica turns it on
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
      noncurrent_days = var.lifecycle_days.old_versions
    }
    expiration {
      expired_object_delete_marker = true
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = var.lifecycle_days.uploads
    }
  }

  dynamic "rule" {
    for_each = local.expiring

    content {
      id     = "expire-${substr(sha256(rule.key), 0, 12)}" # a prefix may be longer than an id
      status = "Enabled"

      filter {
        prefix = rule.key
      }
      expiration {
        days = rule.value
      }
      noncurrent_version_expiration {
        noncurrent_days = 1
      }
    }
  }

  depends_on = [aws_s3_bucket_versioning.bucket]
}

resource "aws_s3_bucket_policy" "bucket" {
  bucket = aws_s3_bucket.bucket.bucket
  region = var.location.region
  policy = local.policy

  depends_on = [aws_s3_bucket_public_access_block.bucket]
}
