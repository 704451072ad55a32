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
  names = ["DB_PASSWORD", "API_TOKEN"]
}

run "names_are_all_that_is_needed" {
  command = plan
  assert {
    condition     = output.names == { API_TOKEN = "API_TOKEN", DB_PASSWORD = "DB_PASSWORD" }
    error_message = "Expected two secrets under their names."
  }
}

run "a_prefix_stands_before_each_name" {
  command = plan
  variables {
    prefix = "acme-prod/"
  }
  assert {
    condition     = aws_secretsmanager_secret.secret["API_TOKEN"].name == "acme-prod/API_TOKEN" && output.names["API_TOKEN"] == "acme-prod/API_TOKEN"
    error_message = "Expected the prefix in the store, and the name in code as key."
  }
}

run "a_destroyed_secret_can_be_restored" {
  command = plan
  assert {
    condition     = aws_secretsmanager_secret.secret["API_TOKEN"].recovery_window_in_days == 30
    error_message = "Expected 30 days."
  }
}

run "data_loss_is_allowed_by_a_variable" {
  command = plan
  variables {
    allow_data_loss = true
  }
  assert {
    condition     = aws_secretsmanager_secret.secret["API_TOKEN"].recovery_window_in_days == 0
    error_message = "Expected that a destroyed secret is gone."
  }
}

run "costs_no_key_unless_asked_for" {
  command = plan
  assert {
    condition     = length(aws_kms_key.secrets) == 0 && aws_secretsmanager_secret.secret["API_TOKEN"].kms_key_id == null
    error_message = "Expected the store's own key."
  }
}

run "a_reader_reads_its_secrets_only" {
  command = plan
  variables {
    readers = { daily = { identity = "arn:aws:iam::123456789012:role/daily", names = ["API_TOKEN"] } }
  }
  assert {
    condition = { for name, each in aws_secretsmanager_secret_policy.secret : name => jsondecode(each.policy).Statement } == {
      API_TOKEN = [{
        Effect    = "Allow"
        Principal = { AWS = ["arn:aws:iam::123456789012:role/daily"] }
        Action    = ["secretsmanager:GetSecretValue"]
        Resource  = ["arn:aws:secretsmanager:eu-west-1:123456789012:secret:API_TOKEN-??????"]
      }]
    }
    error_message = "Expected one policy, which lets the value be read."
  }
}

run "policies_are_never_public" {
  command = plan
  variables {
    readers = { daily = { identity = "arn:aws:iam::123456789012:role/daily", names = ["API_TOKEN"] } }
  }
  assert {
    condition     = aws_secretsmanager_secret_policy.secret["API_TOKEN"].block_public_policy
    error_message = "Expected public policies to be blocked."
  }
}

run "hardened_readers_use_the_key_for_their_secrets_only" {
  command = plan
  variables {
    hardened = true
    readers  = { daily = { identity = "arn:aws:iam::123456789012:role/daily", names = ["API_TOKEN"] } }
  }
  assert {
    condition = aws_kms_key.secrets[0].enable_key_rotation && jsondecode(aws_kms_key.secrets[0].policy).Statement[1] == {
      Effect    = "Allow"
      Principal = { AWS = "arn:aws:iam::123456789012:role/daily" }
      Action    = ["kms:Decrypt"]
      Resource  = "*"
      Condition = {
        StringEquals = { "kms:ViaService" = "secretsmanager.eu-west-1.amazonaws.com" }
        StringLike   = { "kms:EncryptionContext:SecretARN" = ["arn:aws:secretsmanager:eu-west-1:123456789012:secret:API_TOKEN-??????"] }
      }
    }
    error_message = "Expected the key through the store, for the reader's secrets."
  }
}

run "a_name_that_the_store_refuses_is_refused" {
  command = plan
  variables {
    names = ["schlüssel"]
  }
  expect_failures = [var.names]
}

run "a_name_that_ends_as_arns_do_is_refused" {
  command = plan
  variables {
    names = ["db-secret"]
  }
  expect_failures = [var.names]
}

run "a_prefix_of_the_services_is_refused" {
  command = plan
  variables {
    prefix = "aws/"
  }
  expect_failures = [var.prefix]
}

run "a_reader_of_an_unknown_secret_is_refused" {
  command = plan
  variables {
    readers = { daily = { identity = "arn:aws:iam::123456789012:role/daily", names = ["OTHER"] } }
  }
  expect_failures = [aws_secretsmanager_secret.secret]
}
