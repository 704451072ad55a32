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
  name = "acme-prod/flows"
}

run "a_name_is_all_that_is_needed" {
  command = plan
  assert {
    condition     = output.name == "acme-prod/flows" && output.url == "123456789012.dkr.ecr.eu-west-1.amazonaws.com/acme-prod/flows" && output.id == "arn:aws:ecr:eu-west-1:123456789012:repository/acme-prod/flows"
    error_message = "Expected name, address and ARN of the repository."
  }
}

run "images_are_scanned" {
  command = plan
  assert {
    condition     = aws_ecr_repository.registry.image_scanning_configuration[0].scan_on_push
    error_message = "Expected each image to be scanned when it is pushed."
  }
}

run "tags_stay_with_their_image" {
  command = plan
  assert {
    condition     = aws_ecr_repository.registry.image_tag_mutability == "IMMUTABLE"
    error_message = "Expected immutable tags."
  }
}

run "old_and_untagged_images_go" {
  command = plan
  assert {
    condition     = [for rule in jsondecode(aws_ecr_lifecycle_policy.registry.policy).rules : [rule.selection.tagStatus, rule.selection.countNumber]] == [["untagged", 7], ["any", 20]]
    error_message = "Expected 7 days for images without a tag, and 20 images."
  }
}

run "grants_nothing_by_default" {
  command = plan
  assert {
    condition     = length(aws_ecr_repository_policy.registry) == 0
    error_message = "Expected no policy."
  }
}

run "readers_pull_and_writers_push_too" {
  command = plan
  variables {
    readers = { runs = { identity = "arn:aws:iam::123456789012:role/runs" } }
    writers = { ci = { identity = "arn:aws:iam::123456789012:role/ci" } }
  }
  assert {
    condition = jsondecode(aws_ecr_repository_policy.registry[0].policy).Statement == [
      {
        Effect    = "Allow"
        Principal = { AWS = ["arn:aws:iam::123456789012:role/runs"] }
        Action    = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
      },
      {
        Effect    = "Allow"
        Principal = { AWS = ["arn:aws:iam::123456789012:role/ci"] }
        Action = [
          "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer",
          "ecr:CompleteLayerUpload", "ecr:InitiateLayerUpload", "ecr:PutImage", "ecr:UploadLayerPart",
        ]
      },
    ]
    error_message = "Expected pulling for readers, pulling and pushing for writers, and nothing else."
  }
}

run "keeps_images_unless_told" {
  command = plan
  assert {
    condition     = !aws_ecr_repository.registry.force_delete
    error_message = "Expected that a repository with images cannot be destroyed."
  }
}

run "hardened_has_a_key_of_its_own" {
  command = plan
  variables {
    hardened = true
  }
  assert {
    condition     = aws_ecr_repository.registry.encryption_configuration[0].encryption_type == "KMS" && aws_kms_key.registry[0].enable_key_rotation
    error_message = "Expected a key of KMS that is rotated."
  }
}

run "capitals_are_refused" {
  command = plan
  variables {
    name = "Acme"
  }
  expect_failures = [var.name]
}

run "two_dots_are_refused" {
  command = plan
  variables {
    name = "acme..flows"
  }
  expect_failures = [var.name]
}

run "to_keep_nothing_is_refused" {
  command = plan
  variables {
    keep_images = 0
  }
  expect_failures = [var.keep_images]
}
