mock_provider "aws" {
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_region" {
    defaults = { region = "eu-west-1" }
  }
}

variables {
  name = "acme-prod-raw"
}

run "a_name_is_all_that_is_needed" {
  command = plan
  assert {
    condition     = output.name == "acme-prod-raw" && output.uri == "s3://acme-prod-raw" && output.id == "arn:aws:s3:::acme-prod-raw"
    error_message = "Expected name, address and ARN of the bucket."
  }
}

run "is_private" {
  command = plan
  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.bucket.block_public_acls,
      aws_s3_bucket_public_access_block.bucket.block_public_policy,
      aws_s3_bucket_public_access_block.bucket.ignore_public_acls,
      aws_s3_bucket_public_access_block.bucket.restrict_public_buckets,
    ])
    error_message = "Expected all four blocks of public access."
  }
}

run "has_no_access_control_lists" {
  command = plan
  assert {
    condition     = aws_s3_bucket_ownership_controls.bucket.rule[0].object_ownership == "BucketOwnerEnforced"
    error_message = "Expected that the bucket's owner owns all objects."
  }
}

run "keeps_versions" {
  command = plan
  assert {
    condition     = aws_s3_bucket_versioning.bucket.versioning_configuration[0].status == "Enabled"
    error_message = "Expected versioning."
  }
}

run "is_encrypted_without_cost" {
  command = plan
  assert {
    condition     = one(one(aws_s3_bucket_server_side_encryption_configuration.bucket.rule).apply_server_side_encryption_by_default).sse_algorithm == "AES256" && length(aws_kms_key.bucket) == 0
    error_message = "Expected S3's own key, and none of KMS."
  }
}

run "takes_tls_only_and_grants_nothing" {
  command = plan
  assert {
    condition = jsondecode(aws_s3_bucket_policy.bucket.policy).Statement == [{
      Sid       = "OnlyTLS"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = ["arn:aws:s3:::acme-prod-raw", "arn:aws:s3:::acme-prod-raw/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
    error_message = "Expected one statement, which denies all without TLS."
  }
}

run "keeps_data_unless_told" {
  command = plan
  assert {
    condition     = !aws_s3_bucket.bucket.force_destroy
    error_message = "Expected that a bucket with objects cannot be destroyed."
  }
}

run "data_loss_is_allowed_by_a_variable" {
  command = plan
  variables {
    allow_data_loss = true
  }
  assert {
    condition     = aws_s3_bucket.bucket.force_destroy
    error_message = "Expected that allow_data_loss lets the bucket be destroyed with what is in it."
  }
}

run "old_versions_and_unfinished_uploads_expire" {
  command = plan
  assert {
    condition     = [for rule in aws_s3_bucket_lifecycle_configuration.bucket.rule : [rule.noncurrent_version_expiration[0].noncurrent_days, rule.abort_incomplete_multipart_upload[0].days_after_initiation] if rule.id == "old-versions"] == [[30, 2]]
    error_message = "Expected 30 days for old versions and 2 for uploads."
  }
}

run "exchange_cache_and_unpublished_writes_expire" {
  command = plan
  assert {
    condition     = { for rule in aws_s3_bucket_lifecycle_configuration.bucket.rule : rule.filter[0].prefix => rule.expiration[0].days if rule.id != "old-versions" } == { ".glacier/exchange/" = 7, ".glacier/cache/" = 7, ".glacier/writes/" = 2 }
    error_message = "Expected 7 days for what is handed on and cached, 2 for what is not published."
  }
}

run "what_previews_wrote_expires" {
  command = plan
  variables {
    writers = { preview = { prefixes = [".glacier/preview/"] } }
  }
  assert {
    condition     = { for rule in aws_s3_bucket_lifecycle_configuration.bucket.rule : rule.filter[0].prefix => rule.expiration[0].days if rule.id != "old-versions" } == { ".glacier/exchange/" = 7, ".glacier/cache/" = 7, ".glacier/writes/" = 2, ".glacier/preview/" = 30 }
    error_message = "Expected what previews wrote to go after 30 days."
  }
}

run "unpublished_writes_beside_a_file_expire_too" {
  command = plan
  variables {
    writers = { daily = { prefixes = ["orders/eu/daily-", "total.parquet"] } }
  }
  assert {
    condition     = toset([for rule in aws_s3_bucket_lifecycle_configuration.bucket.rule : rule.filter[0].prefix if rule.id == "old-versions" ? false : rule.expiration[0].days == 2]) == toset([".glacier/writes/", "orders/eu/.glacier/writes/"])
    error_message = "Expected rules for the bucket's root and the folder that is written to."
  }
}

run "days_are_chosen" {
  command = plan
  variables {
    lifecycle_days = { exchange = 3, old_versions = 90 }
  }
  assert {
    condition     = toset([for rule in aws_s3_bucket_lifecycle_configuration.bucket.rule : rule.expiration[0].days if rule.id != "old-versions"]) == toset([2, 3])
    error_message = "Expected the days that were given."
  }
}

run "a_reader_lists_and_gets_below_its_prefixes" {
  command = plan
  variables {
    readers = { daily = { identity = "arn:aws:iam::210987654321:role/daily", prefixes = ["orders/", "users/"] } }
  }
  assert {
    condition = slice(jsondecode(aws_s3_bucket_policy.bucket.policy).Statement, 1, 3) == [
      {
        Effect    = "Allow"
        Principal = { AWS = "arn:aws:iam::210987654321:role/daily" }
        Action    = ["s3:ListBucket"]
        Resource  = ["arn:aws:s3:::acme-prod-raw"]
        Condition = { StringLike = { "s3:prefix" = ["orders/*", "users/*"] } }
      },
      {
        Effect    = "Allow"
        Principal = { AWS = "arn:aws:iam::210987654321:role/daily" }
        Action    = ["s3:GetObject"]
        Resource  = ["arn:aws:s3:::acme-prod-raw/orders/*", "arn:aws:s3:::acme-prod-raw/users/*"]
      },
    ]
    error_message = "Expected to list and get below orders/ and users/, and nothing else."
  }
}

run "a_writer_of_all_lists_gets_puts_and_deletes" {
  command = plan
  variables {
    writers = { daily = { identity = "arn:aws:iam::210987654321:role/daily" } }
  }
  assert {
    condition = slice(jsondecode(aws_s3_bucket_policy.bucket.policy).Statement, 1, 3) == [
      {
        Effect    = "Allow"
        Principal = { AWS = "arn:aws:iam::210987654321:role/daily" }
        Action    = ["s3:ListBucket"]
        Resource  = ["arn:aws:s3:::acme-prod-raw"]
      },
      {
        Effect    = "Allow"
        Principal = { AWS = "arn:aws:iam::210987654321:role/daily" }
        Action    = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
        Resource  = ["arn:aws:s3:::acme-prod-raw/*"]
      },
    ]
    error_message = "Expected to list, get, put, delete and abort uploads in all of the bucket, and nothing else."
  }
}

run "who_has_no_identity_is_granted_nothing" {
  command = plan
  variables {
    readers = { daily = { prefixes = ["orders/"] } }
  }
  assert {
    condition     = length(jsondecode(aws_s3_bucket_policy.bucket.policy).Statement) == 1
    error_message = "Expected no grant."
  }
}

run "a_prefix_is_plain_text" {
  command = plan
  variables {
    readers = { daily = { identity = "arn:aws:iam::210987654321:role/daily", prefixes = ["$a*b?/"] } }
  }
  assert {
    condition     = jsondecode(aws_s3_bucket_policy.bucket.policy).Statement[2].Resource == ["arn:aws:s3:::acme-prod-raw/$${$}a$${*}b$${?}/*"]
    error_message = "Expected characters that IAM reads as patterns to be written as themselves."
  }
}

run "labels_are_tags" {
  command = plan
  variables {
    labels = { glacier-project = "acme" }
  }
  assert {
    condition     = aws_s3_bucket.bucket.tags == tomap({ glacier-project = "acme" })
    error_message = "Expected the labels as tags."
  }
}

run "hardened_has_a_key_of_its_own" {
  command = plan
  variables {
    hardened = true
  }
  assert {
    condition     = one(one(aws_s3_bucket_server_side_encryption_configuration.bucket.rule).apply_server_side_encryption_by_default).sse_algorithm == "aws:kms" && aws_kms_key.bucket[0].enable_key_rotation
    error_message = "Expected a key of KMS that is rotated."
  }
}

run "hardened_lets_granted_identities_use_the_key_for_this_bucket" {
  command = plan
  variables {
    hardened = true
    readers  = { daily = { identity = "arn:aws:iam::210987654321:role/daily" } }
  }
  assert {
    condition = jsondecode(aws_kms_key.bucket[0].policy).Statement[1] == {
      Effect    = "Allow"
      Principal = { AWS = "arn:aws:iam::210987654321:role/daily" }
      Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource  = "*"
      Condition = {
        StringEquals = { "kms:ViaService" = "s3.eu-west-1.amazonaws.com" }
        StringLike   = { "kms:EncryptionContext:aws:s3:arn" = ["arn:aws:s3:::acme-prod-raw", "arn:aws:s3:::acme-prod-raw/*"] }
      }
    }
    error_message = "Expected the key through S3 and for this bucket only."
  }
}

run "hardened_has_access_logs_in_a_private_bucket" {
  command = plan
  variables {
    hardened = true
  }
  assert {
    condition     = aws_s3_bucket_logging.bucket[0].target_bucket == "acme-prod-raw-logs" && aws_s3_bucket_public_access_block.logs[0].restrict_public_buckets
    error_message = "Expected access logs in acme-prod-raw-logs, which is private."
  }
}

run "hardened_takes_an_existing_bucket_for_logs" {
  command = plan
  variables {
    hardened = true
    cloud    = { log_bucket = "acme-logs" }
  }
  assert {
    condition     = aws_s3_bucket_logging.bucket[0].target_bucket == "acme-logs" && length(aws_s3_bucket.logs) == 0
    error_message = "Expected access logs in the bucket given, and none made."
  }
}

run "a_replica_is_in_the_second_region" {
  command = plan
  variables {
    replica = { region = "eu-central-1" }
  }
  assert {
    condition     = aws_s3_bucket.replica[0].region == "eu-central-1" && aws_s3_bucket.replica[0].bucket == "acme-prod-raw-replica" && aws_s3_bucket_public_access_block.replica[0].restrict_public_buckets
    error_message = "Expected a private bucket in the second region."
  }
}

run "a_replica_is_written_by_a_role_of_its_own" {
  command = plan
  variables {
    replica = { region = "eu-central-1" }
    cloud   = { permissions_boundary = "arn:aws:iam::123456789012:policy/boundary" }
  }
  assert {
    condition = (
      aws_iam_role.replication[0].name == "glacier-replicate-acme-prod-raw" &&
      aws_iam_role.replication[0].permissions_boundary == "arn:aws:iam::123456789012:policy/boundary" &&
      flatten([for each in jsondecode(aws_iam_role_policy.replication[0].policy).Statement : each.Resource]) == ["arn:aws:s3:::acme-prod-raw", "arn:aws:s3:::acme-prod-raw/*", "arn:aws:s3:::acme-prod-raw-replica/*"]
    )
    error_message = "Expected a role within the boundary, for these two buckets."
  }
}

run "a_hardened_replica_has_a_key_in_its_region" {
  command = plan
  variables {
    hardened = true
    replica  = { region = "eu-central-1", name = "acme-dr-raw" }
  }
  assert {
    condition     = aws_kms_key.replica[0].region == "eu-central-1" && one(one(aws_s3_bucket_server_side_encryption_configuration.replica[0].rule).apply_server_side_encryption_by_default).sse_algorithm == "aws:kms"
    error_message = "Expected a key of KMS in the second region."
  }
}

run "another_region_is_chosen" {
  command = plan
  variables {
    location = { region = "us-west-2" }
  }
  assert {
    condition     = aws_s3_bucket.bucket.region == "us-west-2" && aws_s3_bucket_policy.bucket.region == "us-west-2"
    error_message = "Expected the region given."
  }
}

run "a_short_name_is_refused" {
  command = plan
  variables {
    name = "ab"
  }
  expect_failures = [var.name]
}

run "a_long_name_is_refused" {
  command = plan
  variables {
    name = "a123456789012345678901234567890123456789012345678901234567890123"
  }
  expect_failures = [var.name]
}

run "capitals_are_refused" {
  command = plan
  variables {
    name = "Acme"
  }
  expect_failures = [var.name]
}

run "unicode_is_refused" {
  command = plan
  variables {
    name = "größe"
  }
  expect_failures = [var.name]
}

run "underscores_are_refused" {
  command = plan
  variables {
    name = "my_data"
  }
  expect_failures = [var.name]
}

run "two_dots_are_refused" {
  command = plan
  variables {
    name = "my..data"
  }
  expect_failures = [var.name]
}

run "an_address_is_refused" {
  command = plan
  variables {
    name = "192.168.0.1"
  }
  expect_failures = [var.name]
}

run "a_reserved_ending_is_refused" {
  command = plan
  variables {
    name = "data--x-s3"
  }
  expect_failures = [var.name]
}

run "no_days_are_refused" {
  command = plan
  variables {
    lifecycle_days = { exchange = 0 }
  }
  expect_failures = [var.lifecycle_days]
}

run "a_replicas_name_that_is_too_long_is_refused" {
  command = plan
  variables {
    name    = "a12345678901234567890123456789012345678901234567890123456789"
    replica = { region = "eu-central-1" }
  }
  expect_failures = [aws_s3_bucket.replica]
}
