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
  name = "acme-terraform-state"
}

run "a_name_is_all_that_is_needed" {
  command = plan
  assert {
    condition     = output.name == "acme-terraform-state" && output.id == "arn:aws:s3:::acme-terraform-state"
    error_message = "Expected name and ARN of the bucket."
  }
}

run "the_backend_locks_natively" {
  command = plan
  assert {
    condition     = output.backend == { bucket = "acme-terraform-state", region = "eu-west-1", encrypt = true, use_lockfile = true }
    error_message = "Expected the settings of the backend s3, with use_lockfile."
  }
}

run "old_states_are_kept_for_a_while" {
  command = plan
  assert {
    condition     = [for rule in aws_s3_bucket_lifecycle_configuration.bucket.rule : [rule.noncurrent_version_expiration[0].newer_noncurrent_versions, rule.noncurrent_version_expiration[0].noncurrent_days]] == [[20, 90]]
    error_message = "Expected 20 versions to stay, and all of them for 90 days."
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
      Resource  = ["arn:aws:s3:::acme-terraform-state", "arn:aws:s3:::acme-terraform-state/*"]
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

run "hardened_has_access_logs_in_a_private_bucket" {
  command = plan
  variables {
    hardened = true
  }
  assert {
    condition     = aws_s3_bucket_logging.bucket[0].target_bucket == "acme-terraform-state-logs" && aws_s3_bucket_public_access_block.logs[0].restrict_public_buckets
    error_message = "Expected access logs in acme-terraform-state-logs, which is private."
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

run "two_dots_are_refused" {
  command = plan
  variables {
    name = "my..data"
  }
  expect_failures = [var.name]
}

run "hardened_keeps_its_key_from_deploying" {
  command = plan
  variables {
    hardened = true
    labels   = { glacier-project = "acme" }
  }
  assert {
    condition     = aws_kms_key.bucket[0].tags == tomap({ glacier-project = "acme", glacier-keeps = "state" })
    error_message = "Expected the tag by which identity denies changes of the state's key."
  }
}
