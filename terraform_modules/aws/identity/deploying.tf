# What deploying needs beyond the tables: networks, roles within the boundary, and what it never may.
locals {
  ec2 = "arn:${local.partition}:ec2:${local.in_region}"

  # EC2 gives things no names: what is there may be changed if it has the project's tag, which only what is being made gets.
  network_writes = [for each in [
    {
      Effect = "Allow"
      Action = [
        "ec2:AllocateAddress", "ec2:CreateFlowLogs", "ec2:CreateInternetGateway", "ec2:CreateNatGateway", "ec2:CreateRouteTable",
        "ec2:CreateSecurityGroup", "ec2:CreateSubnet", "ec2:CreateVpc", "ec2:CreateVpcEndpoint",
      ]
      Resource = "*" # what is made has no name yet
    },
    {
      Effect   = "Allow"
      Action   = ["ec2:CreateTags"]
      Resource = ["${local.ec2}:*/*"]
      Condition = {
        StringEquals = {
          "ec2:CreateAction" = [
            "AllocateAddress", "AuthorizeSecurityGroupEgress", "AuthorizeSecurityGroupIngress", "CreateFlowLogs", "CreateInternetGateway",
            "CreateNatGateway", "CreateRouteTable", "CreateSecurityGroup", "CreateSubnet", "CreateVpc", "CreateVpcEndpoint",
          ]
        }
      }
    },
    {
      Effect = "Allow"
      Action = [
        "ec2:AssociateRouteTable", "ec2:AttachInternetGateway", "ec2:AuthorizeSecurityGroupEgress", "ec2:AuthorizeSecurityGroupIngress",
        "ec2:CreateRoute", "ec2:CreateTags", "ec2:DeleteFlowLogs", "ec2:DeleteInternetGateway", "ec2:DeleteNatGateway", "ec2:DeleteRoute",
        "ec2:DeleteRouteTable", "ec2:DeleteSecurityGroup", "ec2:DeleteSubnet", "ec2:DeleteTags", "ec2:DeleteVpc", "ec2:DeleteVpcEndpoints",
        "ec2:DetachInternetGateway", "ec2:DisassociateAddress", "ec2:DisassociateRouteTable", "ec2:ModifySecurityGroupRules",
        "ec2:ModifySubnetAttribute", "ec2:ModifyVpcAttribute", "ec2:ModifyVpcEndpoint", "ec2:ReleaseAddress", "ec2:ReplaceRoute",
        "ec2:RevokeSecurityGroupEgress", "ec2:RevokeSecurityGroupIngress",
      ]
      Resource  = ["${local.ec2}:*/*"]
      Condition = { StringEquals = local.tag }
    },
    {
      Effect   = "Allow"
      Action   = ["ec2:AuthorizeSecurityGroupEgress", "ec2:AuthorizeSecurityGroupIngress"]
      Resource = ["${local.ec2}:security-group-rule/*"] # the rule that is made; its group has to have the tag
    },
  ] : each if contains(var.kinds, "network")]

  # A role that deploying makes or gives rights to has the boundary, always.
  role_writes = [for each in concat(
    [
      {
        Effect    = "Allow"
        Action    = ["iam:CreateRole", "iam:DeleteRolePolicy", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy"]
        Resource  = local.named.roles
        Condition = { StringEquals = { "iam:PermissionsBoundary" = local.boundary_arn } }
      },
      {
        Effect    = "Allow"
        Action    = ["iam:PassRole"]
        Resource  = local.named.roles
        Condition = { StringEquals = { "iam:PassedToService" = ["ecs-tasks.amazonaws.com", "emr-serverless.amazonaws.com", "s3.amazonaws.com", "vpc-flow-logs.amazonaws.com"] } }
      },
    ],
    [
      for service in concat(
        [for each in ["ecs.amazonaws.com"] : each if contains(var.kinds, "work_pool")],
        [for each in ["ops.emr-serverless.amazonaws.com"] : each if contains(var.kinds, "spark")],
        ) : {
        Effect    = "Allow"
        Action    = ["iam:CreateServiceLinkedRole"]
        Resource  = ["${local.iam}:role/aws-service-role/${service}/*"] # AWS names it
        Condition = { StringEquals = { "iam:AWSServiceName" = service } }
      }
    ],
  ) : each if local.with_roles]

  # An application is tagged when it is made, and has no name yet; EMR makes network interfaces for it in the caller's name.
  spark_writes = [
    {
      Effect    = "Allow"
      Action    = ["emr-serverless:TagResource"]
      Resource  = ["arn:${local.partition}:emr-serverless:${local.in_region}:/applications/*"]
      Condition = { StringEquals = { "aws:RequestTag/glacier-project" = lookup(var.labels, "glacier-project", "none") } }
    },
    {
      Effect    = "Allow"
      Action    = ["ec2:CreateNetworkInterface"]
      Resource  = [for kind in ["network-interface", "security-group", "subnet"] : "${local.ec2}:${kind}/*"]
      Condition = { StringEquals = { "aws:CalledViaLast" = "ops.emr-serverless.amazonaws.com" } }
    },
  ]

  key_writes = [for each in [
    {
      Effect    = "Allow"
      Action    = ["kms:TagResource"]
      Resource  = ["arn:${local.partition}:kms:*:${local.account}:key/*"] # a key that is made has no name yet
      Condition = { StringEquals = { "aws:RequestTag/glacier-project" = lookup(var.labels, "glacier-project", "none") } }
    },
  ] : each if var.hardened]

  # Whatever else it is allowed: not to itself, not to what limits it, and no value of a secret.
  never = [
    {
      Sid      = "NotItself"
      Effect   = "Deny"
      Action   = "iam:*" # all: it takes rights away and gives none
      Resource = ["${local.iam}:role/${var.name}-plan", "${local.iam}:role/${var.name}-deploy", "${local.iam}:policy/${var.name}-*", local.provider_arn]
    },
    {
      Sid      = "AlwaysTheBoundary"
      Effect   = "Deny"
      Action   = ["iam:DeleteRolePermissionsBoundary"]
      Resource = "*" # of whatever role
    },
    {
      Sid       = "NotTheStatesKey"
      Effect    = "Deny"
      Action    = ["kms:CreateGrant", "kms:EnableKeyRotation", "kms:PutKeyPolicy", "kms:ScheduleKeyDeletion", "kms:TagResource", "kms:UntagResource", "kms:UpdateKeyDescription"]
      Resource  = "*" # AWS names it; the module state tags it
      Condition = { StringEquals = { "aws:ResourceTag/glacier-keeps" = "state" } }
    },
    {
      Sid      = "NoValues"
      Effect   = "Deny"
      Action   = ["secretsmanager:BatchGetSecretValue", "secretsmanager:GetSecretValue"]
      Resource = "*" # of whatever secret
    },
  ]
}
