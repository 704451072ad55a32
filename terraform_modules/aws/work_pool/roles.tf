# Who may do what: the role of each pipeline's runs, and the one that ECS starts tasks with.
locals {
  # Only for tasks of this account and region.
  trust = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account }
        ArnLike      = { "aws:SourceArn" = "arn:${local.partition}:ecs:${local.in_region}:*" } # tasks are named when they start
      }
    }]
  })

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
          contains(prefixes, "") || contains(var.pipelines[name].lists, bucket) ? {} : { Condition = { StringLike = { "s3:prefix" = [for prefix in prefixes : "${prefix}*"] } } },
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

  # Images in registries of AWS, which starting a task has to read.
  images = distinct(compact(concat([var.image, var.cloud.worker_image], [for pipeline in var.pipelines : pipeline.image])))
  repositories = distinct([
    for found in flatten([for image in local.images : regexall("^(?P<account>\\d+)\\.dkr\\.ecr\\.(?P<region>[a-z0-9-]+)\\.amazonaws\\.com(?:\\.cn)?/(?P<name>[^:@]+)", image)]) :
    "arn:${local.partition}:ecr:${found.region}:${found.account}:repository/${found.name}"
  ])
  # By ECS, with the ARN that it is given: one by name is without the ending.
  started_with = flatten([
    for name in compact([var.server.api_key_secret, var.server.auth_string_secret]) : startswith(name, "arn:") ? [name] : [
      for ending in ["", "-??????"] : "arn:${local.partition}:secretsmanager:${local.in_region}:secret:${name}${ending}"
    ]
  ])

  execution = concat(
    [{
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
      Resource = ["${local.log_group_arn}:log-stream:*"] # a stream for each task
    }],
    [
      for repositories in [local.repositories] : {
        Effect   = "Allow"
        Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        Resource = repositories
      } if length(repositories) > 0
    ],
    [
      for action in ["ecr:GetAuthorizationToken"] : {
        Effect   = "Allow"
        Action   = [action]
        Resource = "*" # it takes no resource
      } if length(local.repositories) > 0
    ],
    [
      for secrets in [local.started_with] : {
        Effect   = "Allow"
        Action   = ["secretsmanager:GetSecretValue"]
        Resource = secrets
      } if length(secrets) > 0
    ],
    [
      for secrets in [local.started_with] : {
        Effect   = "Allow"
        Action   = ["kms:Decrypt"]
        Resource = ["arn:${local.partition}:kms:${local.in_region}:key/*"]
        Condition = {
          StringEquals = { "kms:ViaService" = "secretsmanager.${local.region}.amazonaws.com" }
          StringLike   = { "kms:EncryptionContext:SecretARN" = secrets }
        }
      } if var.hardened && length(secrets) > 0
    ],
  )
}

resource "aws_iam_role" "pipeline" {
  for_each             = local.roles
  name                 = each.value
  description          = "Runs of the pipeline ${replace(each.key, "/[^ -~]/", "?")}."
  assume_role_policy   = local.trust
  permissions_boundary = var.cloud.permissions_boundary
  tags                 = local.tags[each.key]
}

resource "aws_iam_role_policy" "pipeline" {
  for_each = { for name, role in local.roles : name => role if length(local.statements[name]) > 0 }
  name     = "pipeline"
  role     = aws_iam_role.pipeline[each.key].name
  policy   = jsonencode({ Version = "2012-10-17", Statement = local.statements[each.key] })

  lifecycle {
    precondition {
      condition     = length(jsonencode(local.statements[each.key])) <= 10200
      error_message = "IAM: the policies in a role have 10240 characters at most. Pipeline ${each.key} reads and writes too many prefixes; give fewer, longer ones in common."
    }
  }
}

resource "aws_iam_role" "execution" {
  name                 = local.execution_name
  description          = "ECS starts tasks of the work pool ${local.base} with it: logs, images, Prefect's key."
  assume_role_policy   = local.trust
  permissions_boundary = var.cloud.permissions_boundary
  tags                 = var.labels
}

resource "aws_iam_role_policy" "execution" {
  name   = "start"
  role   = aws_iam_role.execution.name
  policy = jsonencode({ Version = "2012-10-17", Statement = local.execution })
}
