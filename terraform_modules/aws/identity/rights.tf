# What making each kind of module takes, and what looking at it takes. `none`: actions that take no resource, so that it is *.
# A name begins with the project's prefix; a * after it is the rest of the name. What has no name is told by its tag.
locals {
  named = {
    bucket  = flatten([for name in sort(var.buckets) : ["arn:${local.partition}:s3:::${name}", "arn:${local.partition}:s3:::${name}-replica", "arn:${local.partition}:s3:::${name}-logs"]])
    roles   = concat(["${local.iam}:role/${var.prefix}*"], contains(var.kinds, "bucket") ? [for name in sort(var.buckets) : "${local.iam}:role/glacier-replicate-${length(name) <= 46 ? name : "${substr(name, 0, 33)}-${substr(sha256(name), 0, 12)}"}"] : [])
    logs    = ["arn:${local.partition}:logs:${local.in_region}:log-group:/glacier/${var.prefix}*"]
    secrets = [for prefix in sort(coalesce(var.cloud.secrets, toset([var.prefix]))) : "arn:${local.partition}:secretsmanager:${local.in_region}:secret:${prefix}*"]
  }

  # Kinds whose modules make roles, and log groups.
  with_roles = length(setintersection(var.kinds, ["bucket", "network", "spark", "work_pool"])) > 0
  with_logs  = length(setintersection(var.kinds, ["network", "spark", "work_pool"])) > 0
  with_tags  = var.hardened || length(setintersection(var.kinds, ["network", "spark"])) > 0

  rights = {
    bucket = {
      none = { read = [], write = [] }
      own = [
        {
          resources = local.named.bucket
          read = [
            "s3:GetAccelerateConfiguration", "s3:GetBucketAcl", "s3:GetBucketCORS", "s3:GetBucketLocation", "s3:GetBucketLogging",
            "s3:GetBucketObjectLockConfiguration", "s3:GetBucketOwnershipControls", "s3:GetBucketPolicy",
            "s3:GetBucketPublicAccessBlock", "s3:GetBucketRequestPayment", "s3:GetBucketTagging", "s3:GetBucketVersioning",
            "s3:GetBucketWebsite", "s3:GetEncryptionConfiguration", "s3:GetLifecycleConfiguration",
            "s3:GetReplicationConfiguration", "s3:ListBucket", "s3:ListTagsForResource",
          ]
          write = [
            "s3:CreateBucket", "s3:DeleteBucket", "s3:DeleteBucketPolicy", "s3:PutBucketLogging", "s3:PutBucketOwnershipControls",
            "s3:PutBucketPolicy", "s3:PutBucketPublicAccessBlock", "s3:PutBucketTagging", "s3:PutBucketVersioning",
            "s3:PutEncryptionConfiguration", "s3:PutLifecycleConfiguration", "s3:PutReplicationConfiguration", "s3:TagResource",
            "s3:UntagResource",
          ]
        },
        {
          # The code of runs: archives that a deployment brings and removes, and of no bucket anything else.
          resources = [for name in sort(var.buckets) : "arn:${local.partition}:s3:::${name}/*.glacier/code/*"]
          read      = []
          write     = ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
        },
      ]
    }

    budget = {
      none = { read = [], write = [] }
      own = [{
        resources = ["arn:${local.partition}:budgets::${local.account}:budget/${var.prefix}*"]
        read      = ["budgets:ListTagsForResource", "budgets:ViewBudget"]
        write     = ["budgets:ModifyBudget", "budgets:TagResource", "budgets:UntagResource"]
      }]
    }

    network = {
      none = {
        read = [
          "ec2:DescribeAddresses", "ec2:DescribeAddressesAttribute", "ec2:DescribeAvailabilityZones", "ec2:DescribeFlowLogs",
          "ec2:DescribeInternetGateways", "ec2:DescribeNatGateways", "ec2:DescribeNetworkAcls", "ec2:DescribeNetworkInterfaces",
          "ec2:DescribePrefixLists", "ec2:DescribeRouteTables", "ec2:DescribeSecurityGroupRules", "ec2:DescribeSecurityGroups",
          "ec2:DescribeSubnets", "ec2:DescribeTags", "ec2:DescribeVpcAttribute", "ec2:DescribeVpcEndpoints", "ec2:DescribeVpcs",
        ]
        write = ["logs:CreateLogDelivery", "logs:DeleteLogDelivery"]
      }
      own = []
    }

    registry = {
      none = { read = [], write = ["ecr:GetAuthorizationToken"] }
      own = [{
        resources = ["arn:${local.partition}:ecr:${local.in_region}:repository/${var.prefix}*"]
        read      = ["ecr:DescribeRepositories", "ecr:GetLifecyclePolicy", "ecr:GetRepositoryPolicy", "ecr:ListTagsForResource"]
        write = [
          "ecr:CreateRepository", "ecr:DeleteLifecyclePolicy", "ecr:DeleteRepository", "ecr:DeleteRepositoryPolicy",
          "ecr:PutImageScanningConfiguration", "ecr:PutImageTagMutability", "ecr:PutLifecyclePolicy", "ecr:SetRepositoryPolicy",
          "ecr:TagResource", "ecr:UntagResource",
          # of the images with the code, which a deployment pushes
          "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:CompleteLayerUpload", "ecr:GetDownloadUrlForLayer",
          "ecr:InitiateLayerUpload", "ecr:PutImage", "ecr:UploadLayerPart",
        ]
      }]
    }

    secrets = {
      none = { read = [], write = [] }
      own = [{
        resources = local.named.secrets
        read      = ["secretsmanager:DescribeSecret", "secretsmanager:GetResourcePolicy"]
        write = [
          "secretsmanager:CreateSecret", "secretsmanager:DeleteResourcePolicy", "secretsmanager:DeleteSecret",
          "secretsmanager:PutResourcePolicy", "secretsmanager:RestoreSecret", "secretsmanager:TagResource",
          "secretsmanager:UntagResource", "secretsmanager:UpdateSecret", "secretsmanager:ValidateResourcePolicy",
        ]
      }]
    }

    spark = {
      none = { read = [], write = ["emr-serverless:CreateApplication"] }
      own = [{
        resources = ["arn:${local.partition}:emr-serverless:${local.in_region}:/applications/*"]
        tagged    = true
        read      = ["emr-serverless:GetApplication", "emr-serverless:ListTagsForResource"]
        write = [
          "emr-serverless:DeleteApplication", "emr-serverless:StartApplication", "emr-serverless:StopApplication",
          "emr-serverless:TagResource", "emr-serverless:UntagResource", "emr-serverless:UpdateApplication",
        ]
      }]
    }

    work_pool = {
      none = {
        read  = ["ecs:DescribeTaskDefinition"]
        write = ["ecs:CreateCluster", "ecs:DeregisterTaskDefinition", "ecs:RegisterTaskDefinition"]
      }
      own = [
        {
          resources = [for kind in ["cluster", "service", "task-definition"] : "arn:${local.partition}:ecs:${local.in_region}:${kind}/${var.prefix}*"]
          read      = ["ecs:DescribeClusters", "ecs:DescribeServices", "ecs:ListTagsForResource"]
          write = [
            "ecs:CreateService", "ecs:DeleteCluster", "ecs:DeleteService", "ecs:PutClusterCapacityProviders", "ecs:TagResource",
            "ecs:UntagResource", "ecs:UpdateCluster", "ecs:UpdateClusterSettings", "ecs:UpdateService",
          ]
        },
        {
          resources = ["arn:${local.partition}:sqs:${local.in_region}:${var.prefix}*"]
          read      = ["sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:ListQueueTags"]
          write     = ["sqs:CreateQueue", "sqs:DeleteQueue", "sqs:SetQueueAttributes", "sqs:TagQueue", "sqs:UntagQueue"]
        },
        {
          resources = ["arn:${local.partition}:events:${local.in_region}:rule/${var.prefix}*"]
          read      = ["events:DescribeRule", "events:ListTagsForResource", "events:ListTargetsByRule"]
          write     = ["events:DeleteRule", "events:PutRule", "events:PutTargets", "events:RemoveTargets", "events:TagResource", "events:UntagResource"]
        },
      ]
    }
  }

  # What several kinds need.
  common = {
    roles = { none = { read = [], write = [] }, own = [{
      resources = local.named.roles
      read      = ["iam:GetRole", "iam:GetRolePolicy", "iam:ListAttachedRolePolicies", "iam:ListInstanceProfilesForRole", "iam:ListRolePolicies", "iam:ListRoleTags"]
      write     = ["iam:DeleteRole", "iam:TagRole", "iam:UntagRole", "iam:UpdateAssumeRolePolicy", "iam:UpdateRole", "iam:UpdateRoleDescription"]
    }] }
    logs = { none = { read = ["logs:DescribeLogGroups"], write = [] }, own = [{
      resources = local.named.logs
      read      = ["logs:ListTagsForResource"]
      write = [
        "logs:AssociateKmsKey", "logs:CreateLogGroup", "logs:DeleteLogGroup", "logs:DeleteRetentionPolicy", "logs:DisassociateKmsKey",
        "logs:PutRetentionPolicy", "logs:TagResource", "logs:UntagResource",
      ]
    }] }
    keys = { none = { read = [], write = ["kms:CreateKey"] }, own = [{
      resources = ["arn:${local.partition}:kms:*:${local.account}:key/*"] # a replica has its key in another region
      tagged    = true
      read      = ["kms:DescribeKey", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus", "kms:ListResourceTags"]
      write     = ["kms:CreateGrant", "kms:EnableKeyRotation", "kms:PutKeyPolicy", "kms:ScheduleKeyDeletion", "kms:UntagResource", "kms:UpdateKeyDescription"]
    }] }
  }
  table = merge(
    { for kind, rights in local.rights : kind => rights if contains(var.kinds, kind) },
    { for kind, rights in local.common : kind => rights if { roles = local.with_roles, logs = local.with_logs, keys = var.hardened }[kind] },
  )

  # Tables as statements.
  statements = {
    for verb in ["read", "write"] : verb => {
      for kind, rights in local.table : kind => concat(
        [for actions in [rights.none[verb]] : { Effect = "Allow", Action = actions, Resource = "*" } if length(actions) > 0],
        [
          for own in rights.own : merge(
            { Effect = "Allow", Action = own[verb], Resource = own.resources },
            try(own.tagged, false) ? { Condition = { StringEquals = local.tag } } : {},
          ) if length(own.resources) > 0 && length(own[verb]) > 0
        ],
      )
    }
  }
  tag = { "aws:ResourceTag/glacier-project" = lookup(var.labels, "glacier-project", "none") }
}
