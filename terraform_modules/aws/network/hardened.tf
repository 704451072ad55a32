# What costs money: a log of all connections.
data "aws_partition" "here" {}

data "aws_caller_identity" "here" {}

locals {
  logs      = var.hardened && local.made
  partition = data.aws_partition.here.partition
  account   = data.aws_caller_identity.here.account_id
  group     = "/glacier/${var.name}-flow-logs"
  group_arn = "arn:${local.partition}:logs:${local.region}:${local.account}:log-group:${local.group}"
}

resource "aws_flow_log" "network" {
  count                = local.logs ? 1 : 0
  region               = var.location.region
  vpc_id               = aws_vpc.network[0].id
  traffic_type         = "ALL"
  log_destination_type = "cloud-watch-logs"
  log_destination      = aws_cloudwatch_log_group.flow[0].arn
  iam_role_arn         = aws_iam_role.flow[0].arn
  tags                 = merge(var.labels, { Name = var.name })

  depends_on = [aws_iam_role_policy.flow]
}

resource "aws_cloudwatch_log_group" "flow" {
  count             = local.logs ? 1 : 0
  region            = var.location.region
  name              = local.group
  retention_in_days = 365
  kms_key_id        = aws_kms_key.flow[0].arn
  tags              = var.labels
}

resource "aws_kms_key" "flow" {
  count                   = local.logs ? 1 : 0
  region                  = var.location.region
  description             = "Encrypts the log of connections in ${var.name}."
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
        Condition = { ArnEquals = { "kms:EncryptionContext:aws:logs:arn" = local.group_arn } }
      },
    ]
  })
}

resource "aws_iam_role" "flow" {
  count                = local.logs ? 1 : 0
  name                 = "${var.name}-flow-logs"
  description          = "EC2 writes the log of connections in ${var.name} with it."
  permissions_boundary = var.cloud.permissions_boundary
  tags                 = var.labels

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "vpc-flow-logs.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
}

resource "aws_iam_role_policy" "flow" {
  count = local.logs ? 1 : 0
  name  = "write-logs"
  role  = aws_iam_role.flow[0].name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
      Resource = [local.group_arn, "${local.group_arn}:log-stream:*"] # a stream for each network interface
    }]
  })
}
