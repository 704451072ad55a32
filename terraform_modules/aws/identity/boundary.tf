# The most that a role which deploying creates can ever do, whatever its policy says: what runs, workers and S3 do, on what is
# the project's. Nothing of IAM but to start tasks with the project's roles.
locals {
  boundary_arn = "${local.iam}:policy/${var.name}-boundary"
  boundary = concat(
    [
      for buckets in [local.named.bucket] : {
        Effect = "Allow"
        Action = [
          "s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:GetObjectVersionAcl", "s3:GetObjectVersionForReplication",
          "s3:GetObjectVersionTagging", "s3:GetReplicationConfiguration", "s3:ListBucket", "s3:PutObject", "s3:ReplicateDelete",
          "s3:ReplicateObject", "s3:ReplicateTags",
        ]
        Resource = flatten([for name in sort(var.buckets) : [
          "arn:${local.partition}:s3:::${name}", "arn:${local.partition}:s3:::${name}/*", "arn:${local.partition}:s3:::${name}-replica/*",
        ]])
      } if length(buckets) > 0
    ],
    [
      {
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:GetLogEvents", "logs:PutLogEvents"]
        Resource = local.named.logs
      },
      {
        Effect   = "Allow"
        Action   = ["secretsmanager:GetSecretValue"]
        Resource = local.named.secrets
      },
    ],
    [for each in [
      {
        Effect = "Allow"
        Action = [
          "ec2:DescribeSubnets", "ec2:DescribeVpcs", "ecr:GetAuthorizationToken", "ecs:DescribeTaskDefinition", "ecs:RegisterTaskDefinition",
        ]
        Resource = "*" # they take no resource
      },
      {
        Effect   = "Allow"
        Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        Resource = ["arn:${local.partition}:ecr:*:*:repository/*"] # images may be another project's; roles say which
      },
      {
        Effect   = "Allow"
        Action   = ["ecs:DescribeTasks", "ecs:RunTask", "ecs:StopTask", "ecs:TagResource"]
        Resource = [for kind in ["task", "task-definition"] : "arn:${local.partition}:ecs:${local.in_region}:${kind}/${var.prefix}*"]
      },
      {
        Effect   = "Allow"
        Action   = ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:ReceiveMessage"]
        Resource = ["arn:${local.partition}:sqs:${local.in_region}:${var.prefix}*"]
      },
    ] : each if contains(var.kinds, "work_pool")],
    [for each in [
      {
        Effect = "Allow"
        Action = [
          "emr-serverless:CancelJobRun", "emr-serverless:GetJobRun", "emr-serverless:ListJobRuns", "emr-serverless:StartJobRun",
          "emr-serverless:TagResource",
        ]
        Resource = ["arn:${local.partition}:emr-serverless:${local.in_region}:/applications/*"] # AWS names them; roles say which
      },
    ] : each if contains(var.kinds, "spark")],
    [for each in [
      {
        Effect    = "Allow"
        Action    = ["iam:PassRole"]
        Resource  = ["${local.iam}:role/${var.prefix}*"]
        Condition = { StringEquals = { "iam:PassedToService" = ["ecs-tasks.amazonaws.com", "emr-serverless.amazonaws.com"] } }
      },
    ] : each if local.with_roles],
    [for each in [
      {
        Effect    = "Allow"
        Action    = ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"]
        Resource  = ["arn:${local.partition}:kms:*:${local.account}:key/*"] # AWS names them; a replica's is in another region
        Condition = { StringLike = { "kms:ViaService" = ["s3.*.amazonaws.com", "secretsmanager.*.amazonaws.com"] } }
      },
    ] : each if var.hardened],
    [{
      Sid      = "NotWhatLimitsIt"
      Effect   = "Deny"
      Action   = ["iam:PassRole", "sts:AssumeRole"]
      Resource = ["${local.iam}:role/${var.name}-plan", "${local.iam}:role/${var.name}-deploy"]
    }],
  )
}

resource "aws_iam_policy" "boundary" {
  name        = "${var.name}-boundary"
  description = "The most that roles of ${var.prefix} can ever do."
  policy      = jsonencode({ Version = "2012-10-17", Statement = local.boundary })
  tags        = var.labels

  lifecycle {
    precondition {
      condition     = length(jsonencode(local.boundary)) <= 6100
      error_message = "IAM: a policy has 6144 characters at most, and that of so many buckets has more. Divide the project into environments, or use fewer buckets."
    }
  }
}
