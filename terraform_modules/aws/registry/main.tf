data "aws_partition" "here" {}

data "aws_caller_identity" "here" {}

data "aws_region" "here" {
  region = var.location.region
}

locals {
  partition = data.aws_partition.here.partition
  account   = data.aws_caller_identity.here.account_id
  region    = data.aws_region.here.region

  pull = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
  push = ["ecr:CompleteLayerUpload", "ecr:InitiateLayerUpload", "ecr:PutImage", "ecr:UploadLayerPart"]
  grants = [
    for grant in [
      { actions = local.pull, identities = distinct([for key in sort(keys(var.readers)) : var.readers[key].identity]) },
      { actions = concat(local.pull, local.push), identities = distinct([for key in sort(keys(var.writers)) : var.writers[key].identity]) },
    ] : { Effect = "Allow", Principal = { AWS = grant.identities }, Action = grant.actions } if length(grant.identities) > 0
  ]
}

resource "aws_ecr_repository" "registry" {
  #checkov:skip=CKV_AWS_136:encrypted with the registry's own key; a key of the account costs money and hardened turns it on
  name                 = var.name
  region               = var.location.region
  image_tag_mutability = "IMMUTABLE"
  force_delete         = var.allow_data_loss
  tags                 = var.labels

  image_scanning_configuration {
    scan_on_push = true
  }
  encryption_configuration {
    encryption_type = var.hardened ? "KMS" : "AES256"
    kms_key         = var.hardened ? aws_kms_key.registry[0].arn : null
  }
}

resource "aws_ecr_lifecycle_policy" "registry" {
  repository = aws_ecr_repository.registry.name
  region     = var.location.region

  policy = jsonencode({
    rules = [
      {
        rulePriority = 1
        description  = "images without a tag go"
        selection = {
          tagStatus   = "untagged"
          countType   = "sinceImagePushed"
          countUnit   = "days"
          countNumber = var.untagged_days
        }
        action = { type = "expire" }
      },
      {
        rulePriority = 2
        description  = "old images go"
        selection = {
          tagStatus   = "any"
          countType   = "imageCountMoreThan"
          countNumber = var.keep_images
        }
        action = { type = "expire" }
      },
    ]
  })
}

resource "aws_ecr_repository_policy" "registry" {
  count      = length(local.grants) > 0 ? 1 : 0
  repository = aws_ecr_repository.registry.name
  region     = var.location.region
  policy     = jsonencode({ Version = "2012-10-17", Statement = local.grants })
}

resource "aws_kms_key" "registry" {
  count                   = var.hardened ? 1 : 0
  region                  = var.location.region
  description             = "Encrypts the images of ${var.name}."
  enable_key_rotation     = true
  deletion_window_in_days = 30
  tags                    = var.labels

  # In the policy of a key, * is that key. The account's administrators manage it, and may give ECR its use when the
  # repository is made; ECR then uses it by that grant.
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
