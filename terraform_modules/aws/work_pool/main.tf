data "aws_partition" "here" {}

data "aws_caller_identity" "here" {}

data "aws_region" "here" {
  region = var.location.region
}

locals {
  partition = data.aws_partition.here.partition
  account   = data.aws_caller_identity.here.account_id
  region    = data.aws_region.here.region
  in_region = "${local.region}:${local.account}"

  # Names of what is made. ECS and IAM take letters, digits, - and _, IAM no more than 64: what is changed or cut for that
  # is told apart by a hash.
  plain = replace(var.name, "/[^A-Za-z0-9_-]/", "-")
  base  = local.plain == var.name && length(var.name) <= 40 ? var.name : "${substr(local.plain, 0, 31)}-${substr(sha256(var.name), 0, 8)}"
  slugs = { for name in keys(var.pipelines) : name => replace(name, "/[^A-Za-z0-9_-]/", "-") }
  roles = {
    for name, slug in local.slugs : name => slug == name && length("${local.base}-run-${name}") <= 64 ? "${local.base}-run-${name}" : "${substr("${local.base}-run-${slug}", 0, 55)}-${substr(sha256(name), 0, 8)}"
  }

  # Of a tag AWS takes letters, digits, spaces and _.:/=+-@.
  tags = { for name in keys(var.pipelines) : name => merge(var.labels, { glacier-pipeline = replace(name, "/[^\\p{L}\\p{N} _.:/=+@-]/", "-") }) }

  cluster_arn    = "arn:${local.partition}:ecs:${local.in_region}:cluster/${local.base}"
  execution_name = "${local.base}-execution"
  execution_arn  = "arn:${local.partition}:iam::${local.account}:role/${local.execution_name}"
  role_arns      = { for name, role in local.roles : name => "arn:${local.partition}:iam::${local.account}:role/${role}" }
  log_group      = "/glacier/${local.base}"
  log_group_arn  = "arn:${local.partition}:logs:${local.in_region}:log-group:${local.log_group}"

  # By name: the ARN without its ending, which the store makes up and which reading does not need.
  secret_arns = {
    for key, name in { PREFECT_API_KEY = var.server.api_key_secret, PREFECT_API_AUTH_STRING = var.server.auth_string_secret } :
    key => startswith(name, "arn:") ? name : "arn:${local.partition}:secretsmanager:${local.in_region}:secret:${name}" if name != null
  }
}

resource "aws_ecs_cluster" "pool" {
  #checkov:skip=CKV_AWS_65:metrics of containers cost money; hardened turns them on
  name   = local.base
  region = var.location.region
  tags   = var.labels

  setting {
    name  = "containerInsights"
    value = var.hardened ? "enabled" : "disabled"
  }
}

resource "aws_ecs_cluster_capacity_providers" "pool" {
  cluster_name       = aws_ecs_cluster.pool.name
  region             = var.location.region
  capacity_providers = ["FARGATE", "FARGATE_SPOT"]
}

resource "aws_cloudwatch_log_group" "pool" {
  name              = local.log_group
  region            = var.location.region
  retention_in_days = var.hardened ? max(365, var.cloud.log_days) : var.cloud.log_days
  kms_key_id        = var.hardened ? aws_kms_key.logs[0].arn : null
  tags              = var.labels
}

resource "aws_kms_key" "logs" {
  count                   = var.hardened ? 1 : 0
  region                  = var.location.region
  description             = "Encrypts the logs of the work pool ${var.name}."
  enable_key_rotation     = true
  deletion_window_in_days = 30
  tags                    = var.labels

  # In the policy of a key, * is that key. The account's administrators manage it, and the service uses it for this group.
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "Account"
        Effect    = "Allow"
        Principal = { AWS = "arn:${local.partition}:iam::${local.account}:root" }
        Action    = "kms:*"
        Resource  = "*"
      },
      {
        Sid       = "Logs"
        Effect    = "Allow"
        Principal = { Service = "logs.${local.region}.amazonaws.com" }
        Action    = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey", "kms:ReEncryptFrom", "kms:ReEncryptTo"]
        Resource  = "*"
        Condition = { ArnEquals = { "kms:EncryptionContext:aws:logs:arn" = local.log_group_arn } }
      },
    ]
  })
}
