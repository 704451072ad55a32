# A copy of all new objects in a second region.
locals {
  replica     = var.replica == null ? null : coalesce(var.replica.name, "${var.name}-replica")
  replica_arn = "arn:${local.partition}:s3:::${coalesce(local.replica, "none")}"
  replicating = "glacier-replicate-${length(var.name) <= 46 ? var.name : "${substr(var.name, 0, 33)}-${substr(sha256(var.name), 0, 12)}"}" # 64 characters at most
}

resource "aws_s3_bucket" "replica" {
  #checkov:skip=CKV_AWS_18:access logs cost money; those of the bucket itself are on where it is hardened, and nobody reads its copy
  #checkov:skip=CKV_AWS_144:it is the replica
  #checkov:skip=CKV_AWS_145:encrypted with S3's own key; a key of the account costs money and hardened turns it on
  #checkov:skip=CKV2_AWS_62:nothing listens to events of a bucket
  count         = var.replica == null ? 0 : 1
  bucket        = local.replica
  region        = var.replica.region
  force_destroy = var.allow_data_loss
  tags          = var.labels

  lifecycle {
    precondition {
      condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", local.replica)) && local.replica != var.name
      error_message = "S3: the replica's name has 3 to 63 characters and is not the bucket's; give replica.name if NAME-replica is too long."
    }
  }
}

resource "aws_s3_bucket_public_access_block" "replica" {
  count                   = var.replica == null ? 0 : 1
  bucket                  = aws_s3_bucket.replica[0].bucket
  region                  = var.replica.region
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "replica" {
  count  = var.replica == null ? 0 : 1
  bucket = aws_s3_bucket.replica[0].bucket
  region = var.replica.region

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_versioning" "replica" {
  count  = var.replica == null ? 0 : 1
  bucket = aws_s3_bucket.replica[0].bucket
  region = var.replica.region

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "replica" {
  count  = var.replica == null ? 0 : 1
  bucket = aws_s3_bucket.replica[0].bucket
  region = var.replica.region

  rule {
    bucket_key_enabled = var.hardened

    apply_server_side_encryption_by_default {
      sse_algorithm     = var.hardened ? "aws:kms" : "AES256"
      kms_master_key_id = var.hardened ? aws_kms_key.replica[0].arn : null
    }
  }
}

# Deletions that a lifecycle makes are not copied, so the copy has the same rules.
resource "aws_s3_bucket_lifecycle_configuration" "replica" {
  count  = var.replica == null ? 0 : 1
  bucket = aws_s3_bucket.replica[0].bucket
  region = var.replica.region

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
      id     = "expire-${substr(sha256(rule.key), 0, 12)}"
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

  depends_on = [aws_s3_bucket_versioning.replica]
}

resource "aws_s3_bucket_policy" "replica" {
  count  = var.replica == null ? 0 : 1
  bucket = aws_s3_bucket.replica[0].bucket
  region = var.replica.region
  policy = jsonencode({ Version = "2012-10-17", Statement = [local.only_tls[local.replica]] })

  depends_on = [aws_s3_bucket_public_access_block.replica]
}

resource "aws_iam_role" "replication" {
  count                = var.replica == null ? 0 : 1
  name                 = local.replicating
  description          = "S3 copies ${var.name} to ${local.replica} with it."
  permissions_boundary = var.cloud.permissions_boundary
  tags                 = var.labels

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "s3.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account }
        ArnEquals    = { "aws:SourceArn" = local.arn }
      }
    }]
  })
}

resource "aws_iam_role_policy" "replication" {
  count = var.replica == null ? 0 : 1
  name  = "replicate"
  role  = aws_iam_role.replication[0].name

  # All objects of the two buckets. The keys' names are not known before they are made: what they may be used for says
  # which they are.
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        {
          Effect   = "Allow"
          Action   = ["s3:GetReplicationConfiguration", "s3:ListBucket"]
          Resource = [local.arn]
        },
        {
          Effect   = "Allow"
          Action   = ["s3:GetObjectVersionAcl", "s3:GetObjectVersionForReplication", "s3:GetObjectVersionTagging"]
          Resource = ["${local.arn}/*"]
        },
        {
          Effect   = "Allow"
          Action   = ["s3:ReplicateDelete", "s3:ReplicateObject", "s3:ReplicateTags"]
          Resource = ["${local.replica_arn}/*"]
        },
      ],
      [
        for use in [
          { action = "kms:Decrypt", region = local.region, bucket = local.arn },
          { action = "kms:Encrypt", region = try(var.replica.region, ""), bucket = local.replica_arn },
          ] : {
          Effect   = "Allow"
          Action   = [use.action]
          Resource = ["arn:${local.partition}:kms:${use.region}:${local.account}:key/*"]
          Condition = {
            StringEquals = { "kms:ViaService" = "s3.${use.region}.amazonaws.com" }
            StringLike   = { "kms:EncryptionContext:aws:s3:arn" = [use.bucket, "${use.bucket}/*"] }
          }
        } if var.hardened
      ],
    )
  })
}

resource "aws_s3_bucket_replication_configuration" "bucket" {
  count  = var.replica == null ? 0 : 1
  bucket = aws_s3_bucket_versioning.bucket.bucket
  region = var.location.region
  role   = aws_iam_role.replication[0].arn

  rule {
    id     = "everything"
    status = "Enabled"

    filter {}

    delete_marker_replication {
      status = "Enabled"
    }
    destination {
      bucket = "arn:${local.partition}:s3:::${aws_s3_bucket_versioning.replica[0].bucket}"

      dynamic "encryption_configuration" {
        for_each = aws_kms_key.replica

        content {
          replica_kms_key_id = encryption_configuration.value.arn
        }
      }
    }

    dynamic "source_selection_criteria" {
      for_each = aws_kms_key.bucket

      content {
        sse_kms_encrypted_objects {
          status = "Enabled"
        }
      }
    }
  }

  depends_on = [aws_iam_role_policy.replication]
}
