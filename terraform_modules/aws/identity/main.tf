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
  iam       = "arn:${local.partition}:iam::${local.account}"

  github       = "token.actions.githubusercontent.com"
  provider_arn = coalesce(var.cloud.provider_arn, "${local.iam}:oidc-provider/${local.github}")

  # Who a workflow says it is: any branch and pull request to plan, one branch or environment to deploy.
  subjects = {
    plan   = { StringLike = { "${local.github}:sub" = ["repo:${var.repository}:pull_request", "repo:${var.repository}:ref:refs/heads/*"] } }
    deploy = { "${local.github}:sub" = var.github_environment == null ? "repo:${var.repository}:ref:refs/heads/${var.branch}" : "repo:${var.repository}:environment:${coalesce(var.github_environment, "-")}" }
  }
  for_aws = { "${local.github}:aud" = "sts.amazonaws.com" }
  conditions = {
    plan   = merge(local.subjects.plan, { StringEquals = local.for_aws })
    deploy = { StringEquals = merge(local.subjects.deploy, local.for_aws) }
  }

  # The state and the deploy records beside it, below the project's keys. The state itself is never deleted.
  state_objects = "${var.state}/${var.cloud.state_prefix}"
  # All names: with a condition on them S3 denies what is not there yet, and Terraform takes that for a failure.
  state_list = { Effect = "Allow", Action = ["s3:ListBucket"], Resource = [var.state] }
  state_keys = {
    for verb, actions in { read = ["kms:Decrypt"], write = ["kms:Decrypt", "kms:GenerateDataKey"] } : verb => [
      for actions in [actions] : {
        Effect   = "Allow"
        Action   = actions
        Resource = ["arn:${local.partition}:kms:${local.in_region}:key/*"] # AWS names it
        Condition = {
          StringEquals = { "kms:ViaService" = "s3.${local.region}.amazonaws.com" }
          StringLike   = { "kms:EncryptionContext:aws:s3:arn" = [var.state, "${var.state}/*"] }
        }
      } if var.hardened
    ]
  }
  state = {
    read = concat(
      [local.state_list, { Effect = "Allow", Action = ["s3:GetObject"], Resource = ["${local.state_objects}*"] }],
      local.state_keys.read,
    )
    write = concat(
      [
        local.state_list,
        { Effect = "Allow", Action = ["s3:GetObject", "s3:PutObject"], Resource = ["${local.state_objects}*"] },
        { Effect = "Allow", Action = ["s3:DeleteObject"], Resource = [for each in ["*.tflock", "*/history/*.json", "*/deploy.json", "*/clock"] : "${local.state_objects}${each}"] },
      ],
      local.state_keys.write,
    )
  }

  # The keys of hardened buckets, for the objects in them that whoever deploys, or plans previews, reads and writes.
  bucket_keys = {
    for what, objects in { code = "*.glacier/code/*", preview = ".glacier/preview/*" } : what => [
      for buckets in [[for name in sort(var.buckets) : "arn:${local.partition}:s3:::${name}"]] : {
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource = ["arn:${local.partition}:kms:${local.in_region}:key/*"] # AWS names it
        Condition = {
          StringEquals = { "kms:ViaService" = "s3.${local.region}.amazonaws.com" }
          StringLike   = { "kms:EncryptionContext:aws:s3:arn" = flatten([for each in buckets : [each, "${each}/${objects}"]]) }
        }
      } if var.hardened && contains(var.kinds, "bucket") && length(buckets) > 0
    ]
  }

  # Of previews: what is kept of them beside the state, which whoever plans may read as it is, and all that they write.
  previews = concat(
    [{ Effect = "Allow", Action = ["s3:DeleteObject", "s3:PutObject"], Resource = ["${local.state_objects}preview/*"] }],
    local.state_keys.write,
    [
      for objects in [[for name in sort(var.buckets) : "arn:${local.partition}:s3:::${name}/.glacier/preview/*"]] : {
        Effect   = "Allow"
        Action   = ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
        Resource = objects
      } if contains(var.kinds, "bucket") && length(objects) > 0
    ],
    local.bucket_keys["preview"],
  )

  # What is among them and only a person writes.
  kept = [for key in var.cloud.kept[*] : {
    Sid      = "NotWhatAPersonWrites"
    Effect   = "Deny"
    Action   = ["s3:DeleteObject", "s3:PutObject"]
    Resource = ["${var.state}/${key}*"]
  }]

  # A policy for each part, since one has 6144 characters at most; ten may be attached to a role.
  policies = merge(
    { "plan-state" = { role = "plan", statements = local.state.read } },
    { "plan-previews" = { role = "plan", statements = [for each in local.previews : each if var.previews] } },
    { "deploy-state" = { role = "deploy", statements = concat(local.state.write, local.kept, local.never) } },
    { "plan-read" = { role = "plan", statements = flatten(values(local.statements.read)) } },
    { "deploy-read" = { role = "deploy", statements = flatten(values(local.statements.read)) } },
    {
      for kind, statements in local.statements.write : "deploy-${replace(kind, "_", "-")}" => {
        role       = "deploy"
        statements = concat(statements, [for each in local.network_writes : each if kind == "network"], [for each in local.spark_writes : each if kind == "spark"], [for each in local.bucket_keys["code"] : each if kind == "bucket"])
      } if contains(var.kinds, kind)
    },
    {
      "deploy-common" = {
        role = "deploy"
        statements = concat(
          flatten([for kind, statements in local.statements.write : statements if !contains(var.kinds, kind)]), local.role_writes, local.key_writes,
        )
      }
    },
  )
}

resource "aws_iam_openid_connect_provider" "github" {
  count          = var.cloud.provider_arn == null ? 1 : 0
  url            = "https://${local.github}"
  client_id_list = ["sts.amazonaws.com"]
  tags           = var.labels
}

resource "aws_iam_role" "role" {
  for_each             = local.conditions
  name                 = "${var.name}-${each.key}"
  description          = each.key == "plan" ? "Workflows of ${var.repository} look at state and resources of ${var.prefix} with it." : "Workflows of ${var.repository} deploy ${var.prefix} with it."
  max_session_duration = 3600
  tags                 = var.labels

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Federated = local.provider_arn }
      Action    = "sts:AssumeRoleWithWebIdentity"
      Condition = each.value
    }]
  })

  depends_on = [aws_iam_openid_connect_provider.github]

  lifecycle {
    precondition {
      condition     = !local.with_tags || contains(keys(var.labels), "glacier-project")
      error_message = "The kinds network and spark, and hardened, need the label glacier-project: what has no name of its own is told by that tag."
    }
    precondition {
      condition     = !contains(var.kinds, "bucket") || length(var.buckets) > 0
      error_message = "The kind bucket needs buckets, the names of those that may be made."
    }
  }
}

resource "aws_iam_policy" "part" {
  for_each    = { for name, part in local.policies : name => part.statements if length(part.statements) > 0 }
  name        = "${var.name}-${each.key}"
  description = "What ${local.policies[each.key].role == "plan" ? "planning" : "deploying"} ${var.prefix} takes."
  policy      = jsonencode({ Version = "2012-10-17", Statement = each.value })
  tags        = var.labels

  lifecycle {
    precondition {
      condition     = length(jsonencode(each.value)) <= 6100
      error_message = "IAM: a policy has 6144 characters at most, and that of so many buckets has more. Divide the project into environments, or use fewer buckets."
    }
  }
}

resource "aws_iam_role_policy_attachment" "part" {
  for_each   = aws_iam_policy.part
  role       = aws_iam_role.role[local.policies[each.key].role].name
  policy_arn = each.value.arn
}
