# Who may do what: the role of each pipeline's jobs, and what who submits them gets.
locals {
  # Prefixes are plain text: what IAM would read as a pattern or variable is written as the character that it is.
  prefixes = {
    for name, pipeline in var.pipelines : name => {
      for verb, buckets in { reads = pipeline.reads, writes = pipeline.writes } : verb => {
        for bucket, prefixes in buckets : bucket => [
          for prefix in sort(prefixes) : replace(replace(replace(prefix, "$", "$${$}"), "*", "$${*}"), "?", "$${?}")
        ] if length(prefixes) > 0
      }
    }
  }
  buckets = {
    for name, each in local.prefixes : name => {
      for bucket in distinct(concat(keys(each.reads), keys(each.writes))) :
      bucket => sort(distinct(concat(lookup(each.reads, bucket, []), lookup(each.writes, bucket, []))))
    }
  }
  objects = {
    for name, each in local.prefixes : name => {
      for verb, buckets in each : verb => flatten([
        for bucket, prefixes in buckets : [for prefix in prefixes : "arn:${local.partition}:s3:::${bucket}/${prefix}*"]
      ])
    }
  }

  # The * at the end is what a prefix is; that of a secret is the ending which the store makes up, of six characters.
  # Keys are named by AWS, so they are told by what they may be used for.
  statements = {
    for name, pipeline in var.pipelines : name => concat(
      [
        for bucket, prefixes in local.buckets[name] : merge(
          { Effect = "Allow", Action = ["s3:ListBucket"], Resource = ["arn:${local.partition}:s3:::${bucket}"] },
          contains(prefixes, "") ? {} : { Condition = { StringLike = { "s3:prefix" = [for prefix in prefixes : "${prefix}*"] } } },
        )
      ],
      [
        for grant in [
          { actions = ["s3:GetObject"], objects = local.objects[name].reads },
          { actions = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"], objects = local.objects[name].writes },
        ] : { Effect = "Allow", Action = grant.actions, Resource = grant.objects } if length(grant.objects) > 0
      ],
      [
        for secrets in [[for secret in sort(pipeline.secrets) : "arn:${local.partition}:secretsmanager:${local.in_region}:secret:${secret}-??????"]] :
        { Effect = "Allow", Action = ["secretsmanager:GetSecretValue"], Resource = secrets } if length(secrets) > 0
      ],
      [
        for use in [
          {
            actions = ["kms:Decrypt", "kms:GenerateDataKey"]
            service = "s3"
            context = "kms:EncryptionContext:aws:s3:arn"
            of      = flatten([for bucket in keys(local.buckets[name]) : ["arn:${local.partition}:s3:::${bucket}", "arn:${local.partition}:s3:::${bucket}/*"]])
          },
          {
            actions = ["kms:Decrypt"]
            service = "secretsmanager"
            context = "kms:EncryptionContext:SecretARN"
            of      = [for secret in sort(pipeline.secrets) : "arn:${local.partition}:secretsmanager:${local.in_region}:secret:${secret}-??????"]
          },
          ] : {
          Effect   = "Allow"
          Action   = use.actions
          Resource = ["arn:${local.partition}:kms:${local.in_region}:key/*"]
          Condition = {
            StringEquals = { "kms:ViaService" = "${use.service}.${local.region}.amazonaws.com" }
            StringLike   = { (use.context) = use.of }
          }
        } if var.hardened && length(use.of) > 0
      ],
    )
  }
}

resource "aws_iam_role" "pipeline" {
  for_each             = local.roles
  name                 = each.value
  description          = "Spark jobs of the pipeline ${replace(each.key, "/[^ -~]/", "?")}."
  permissions_boundary = var.cloud.permissions_boundary
  tags                 = local.tags[each.key]

  # Only for applications of this account and region, which AWS names.
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "emr-serverless.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account }
        ArnLike      = { "aws:SourceArn" = "arn:${local.partition}:emr-serverless:${local.in_region}:/applications/*" }
      }
    }]
  })
}

resource "aws_iam_role_policy" "pipeline" {
  for_each = { for name, role in local.roles : name => role if length(local.statements[name]) > 0 || length(local.archive) > 0 }
  name     = "pipeline"
  role     = aws_iam_role.pipeline[each.key].name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      local.statements[each.key],
      [for objects in [local.archive] : { Effect = "Allow", Action = ["s3:GetObject"], Resource = objects } if length(objects) > 0],
    )
  })

  lifecycle {
    precondition {
      condition     = length(jsonencode(local.statements[each.key])) <= 10000
      error_message = "IAM: the policies in a role have 10240 characters at most. Pipeline ${each.key} reads and writes too many prefixes; give fewer, longer ones in common."
    }
  }
}

# The application is named by AWS, so this is known once it is made.
resource "aws_iam_role_policy" "submitter" {
  for_each = var.submitters
  name     = "${local.base}-spark"
  role     = regex("[^/]+$", each.value.identity)

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = ["emr-serverless:ListJobRuns", "emr-serverless:StartJobRun"]
        Resource = [aws_emrserverless_application.spark.arn]
      },
      {
        Effect   = "Allow"
        Action   = ["emr-serverless:CancelJobRun", "emr-serverless:GetJobRun"]
        Resource = ["${aws_emrserverless_application.spark.arn}/jobruns/*"] # jobs are named when they start
      },
      {
        Effect    = "Allow"
        Action    = ["iam:PassRole"]
        Resource  = [local.role_arns[each.key]]
        Condition = { StringEquals = { "iam:PassedToService" = "emr-serverless.amazonaws.com" } }
      },
    ]
  })
}
