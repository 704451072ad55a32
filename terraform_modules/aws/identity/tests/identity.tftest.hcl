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
  name       = "acme-shop"
  repository = "acme/shop"
  prefix     = "glacier-shop-prod"
  buckets    = ["acme-raw"]
  state      = "arn:aws:s3:::acme-terraform-state"
  labels     = { glacier-project = "shop" }
}

run "gives_two_roles_and_a_boundary" {
  command = plan
  assert {
    condition = (
      output.plan == { role_arn = "arn:aws:iam::123456789012:role/acme-shop-plan" } &&
      output.deploy == { role_arn = "arn:aws:iam::123456789012:role/acme-shop-deploy" } &&
      output.boundary == "arn:aws:iam::123456789012:policy/acme-shop-boundary" &&
      output.provider_id == "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"
    )
    error_message = "Expected the roles plan and deploy, the boundary and GitHub's provider."
  }
}

run "any_branch_and_pull_request_of_the_repository_may_plan" {
  command = plan
  assert {
    condition = jsondecode(aws_iam_role.role["plan"].assume_role_policy).Statement == [{
      Effect    = "Allow"
      Principal = { Federated = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com" }
      Action    = "sts:AssumeRoleWithWebIdentity"
      Condition = {
        StringEquals = { "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com" }
        StringLike   = { "token.actions.githubusercontent.com:sub" = ["repo:acme/shop:pull_request", "repo:acme/shop:ref:refs/heads/*"] }
      }
    }]
    error_message = "Expected branches and pull requests of acme/shop, for AWS."
  }
}

run "only_the_branch_may_deploy" {
  command = plan
  assert {
    condition = one(jsondecode(aws_iam_role.role["deploy"].assume_role_policy).Statement).Condition == {
      StringEquals = {
        "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com"
        "token.actions.githubusercontent.com:sub" = "repo:acme/shop:ref:refs/heads/main"
      }
    }
    error_message = "Expected main and nothing else."
  }
}

run "an_environment_is_trusted_in_place_of_the_branch" {
  command = plan
  variables {
    github_environment = "prod"
  }
  assert {
    condition     = one(jsondecode(aws_iam_role.role["deploy"].assume_role_policy).Statement).Condition.StringEquals["token.actions.githubusercontent.com:sub"] == "repo:acme/shop:environment:prod"
    error_message = "Expected the environment prod and no branch."
  }
}

run "planning_changes_nothing" {
  command = plan
  variables {
    kinds    = ["bucket", "budget", "network", "registry", "secrets", "spark", "work_pool"]
    hardened = true
  }
  assert {
    condition = alltrue([
      for action in flatten([for name, each in aws_iam_policy.part : [for statement in jsondecode(each.policy).Statement : statement.Action] if startswith(name, "plan-")]) :
      can(regex("^[a-z0-9-]+:(Get|List|Describe|View)|^kms:Decrypt$", action))
    ])
    error_message = "Expected actions that get, list or describe, and to decrypt the state."
  }
}

run "nobody_reads_objects_or_secrets" {
  command = plan
  variables {
    kinds = ["bucket", "secrets"]
  }
  assert {
    condition = flatten([
      for each in aws_iam_policy.part : [for statement in jsondecode(each.policy).Statement : statement.Resource if statement.Effect == "Allow" && contains(flatten([statement.Action]), "s3:GetObject")]
    ]) == ["arn:aws:s3:::acme-raw/*.glacier/code/*", "arn:aws:s3:::acme-terraform-state/*", "arn:aws:s3:::acme-terraform-state/*"] && contains(flatten([for statement in jsondecode(aws_iam_policy.part["deploy-state"].policy).Statement : statement.Action if statement.Effect == "Deny"]), "secretsmanager:GetSecretValue")
    error_message = "Expected to get objects of the state and archives of code only, and values of secrets to be denied."
  }
}

run "only_locks_and_deploy_records_are_deleted_beside_the_state" {
  command = plan
  variables {
    cloud = { state_prefix = "prod/" }
  }
  assert {
    condition = flatten([
      for statement in jsondecode(aws_iam_policy.part["deploy-state"].policy).Statement : statement.Resource if contains(flatten([statement.Action]), "s3:DeleteObject")
    ]) == [for each in ["*.tflock", "*/history/*.json", "*/deploy.json", "*/clock"] : "arn:aws:s3:::acme-terraform-state/prod/${each}"]
    error_message = "Expected s3:DeleteObject for locks and deploy records below prod/, and for nothing else."
  }
}

run "what_a_person_keeps_is_read_only" {
  command = plan
  variables {
    cloud = { state_prefix = "shop/prod/", kept = "shop/prod/bootstrap/" }
  }
  assert {
    condition = contains(jsondecode(aws_iam_policy.part["deploy-state"].policy).Statement, {
      Sid      = "NotWhatAPersonWrites"
      Effect   = "Deny"
      Action   = ["s3:DeleteObject", "s3:PutObject"]
      Resource = ["arn:aws:s3:::acme-terraform-state/shop/prod/bootstrap/*"]
    })
    error_message = "Expected deploy to write nothing of the bootstrap."
  }
}

run "neither_role_changes_itself_or_the_boundary" {
  command = plan
  assert {
    condition = one([for each in jsondecode(aws_iam_policy.part["deploy-state"].policy).Statement : each if try(each.Sid, "") == "NotItself"]) == {
      Sid    = "NotItself"
      Effect = "Deny"
      Action = "iam:*"
      Resource = [
        "arn:aws:iam::123456789012:role/acme-shop-plan", "arn:aws:iam::123456789012:role/acme-shop-deploy",
        "arn:aws:iam::123456789012:policy/acme-shop-*", "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com",
      ]
    }
    error_message = "Expected all of IAM to be denied on the roles, their policies, the boundary and the provider."
  }
}

run "a_role_is_given_rights_within_the_boundary_only" {
  command = plan
  assert {
    condition = alltrue([
      for statement in jsondecode(aws_iam_policy.part["deploy-common"].policy).Statement :
      statement.Condition.StringEquals["iam:PermissionsBoundary"] == "arn:aws:iam::123456789012:policy/acme-shop-boundary"
      if length(setintersection(statement.Action, ["iam:CreateRole", "iam:PutRolePolicy", "iam:DeleteRolePolicy", "iam:PutRolePermissionsBoundary", "iam:AttachRolePolicy"])) > 0
    ])
    error_message = "Expected the boundary as a condition of whatever gives a role rights."
  }
}

run "roles_are_the_projects" {
  command = plan
  assert {
    condition     = distinct(flatten([for statement in jsondecode(aws_iam_policy.part["deploy-common"].policy).Statement : [for resource in statement.Resource : resource if strcontains(resource, ":role/") && !strcontains(resource, "aws-service-role")] if statement.Resource != "*"])) == tolist(["arn:aws:iam::123456789012:role/glacier-shop-prod*", "arn:aws:iam::123456789012:role/glacier-replicate-acme-raw"])
    error_message = "Expected roles that begin with the prefix, and those that replicate the buckets."
  }
}

run "the_boundary_gives_nothing_of_iam_but_starting_tasks" {
  command = plan
  variables {
    kinds    = ["bucket", "network", "spark", "work_pool"]
    hardened = true
  }
  assert {
    condition = distinct([
      for action in flatten([for statement in jsondecode(aws_iam_policy.boundary.policy).Statement : statement.Action if statement.Effect == "Allow"]) : action if startswith(action, "iam:")
    ]) == tolist(["iam:PassRole"])
    error_message = "Expected iam:PassRole and no other action of IAM."
  }
}

run "the_boundary_ends_at_the_projects_buckets" {
  command = plan
  assert {
    condition = flatten([
      for statement in jsondecode(aws_iam_policy.boundary.policy).Statement : statement.Resource if contains(statement.Action, "s3:GetObject")
    ]) == ["arn:aws:s3:::acme-raw", "arn:aws:s3:::acme-raw/*", "arn:aws:s3:::acme-raw-replica/*"]
    error_message = "Expected the bucket and its replica."
  }
}

run "a_kind_that_is_not_granted_gives_no_rights" {
  command = plan
  variables {
    kinds = ["registry"]
  }
  assert {
    condition     = toset(keys(aws_iam_policy.part)) == toset(["plan-state", "plan-read", "deploy-state", "deploy-read", "deploy-registry"])
    error_message = "Expected the policies of the state and of the registry only."
  }
}

run "networks_are_changed_by_their_tag" {
  command = plan
  variables {
    kinds = ["network"]
  }
  assert {
    condition     = one([for statement in jsondecode(aws_iam_policy.part["deploy-network"].policy).Statement : statement.Condition if contains(statement.Action, "ec2:DeleteVpc")]) == { StringEquals = { "aws:ResourceTag/glacier-project" = "shop" } }
    error_message = "Expected the project's tag as a condition."
  }
}

run "keys_only_where_hardened" {
  command = plan
  assert {
    condition     = length(flatten([for each in aws_iam_policy.part : [for statement in jsondecode(each.policy).Statement : statement if statement.Effect == "Allow" && strcontains(jsonencode(statement.Action), "kms:")]])) == 0
    error_message = "Expected nothing of KMS to be allowed."
  }
}

run "a_provider_that_is_there_is_taken" {
  command = plan
  variables {
    cloud = { provider_arn = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com" }
  }
  assert {
    condition     = length(aws_iam_openid_connect_provider.github) == 0
    error_message = "Expected no second provider."
  }
}

run "every_policy_fits_and_few_enough_are_attached" {
  command = plan
  variables {
    kinds    = ["bucket", "budget", "network", "registry", "secrets", "spark", "work_pool"]
    hardened = true
    buckets  = ["acme-prod-a", "acme-prod-b", "acme-prod-c", "acme-prod-d", "acme-prod-e", "acme-prod-f", "acme-prod-g", "acme-prod-h", "acme-prod-i", "acme-prod-j", "acme-prod-k", "acme-prod-l"]
  }
  assert {
    condition     = max(concat([for each in aws_iam_policy.part : length(each.policy)], [length(aws_iam_policy.boundary.policy)])...) <= 6144 && length([for name in keys(aws_iam_policy.part) : name if startswith(name, "deploy-")]) <= 10
    error_message = "Expected policies of at most 6144 characters, and at most 10 for a role."
  }
}

run "an_unknown_kind_is_refused" {
  command = plan
  variables {
    kinds = ["database"]
  }
  expect_failures = [var.kinds]
}

run "a_pattern_in_the_repository_is_refused" {
  command = plan
  variables {
    repository = "acme/*"
  }
  expect_failures = [var.repository]
}

run "a_pattern_in_the_branch_is_refused" {
  command = plan
  variables {
    branch = "release/*"
  }
  expect_failures = [var.branch]
}

run "a_short_prefix_is_refused" {
  command = plan
  variables {
    prefix = "a"
  }
  expect_failures = [var.prefix]
}

run "a_network_without_the_projects_tag_is_refused" {
  command = plan
  variables {
    kinds  = ["network"]
    labels = {}
  }
  expect_failures = [aws_iam_role.role]
}

run "the_states_key_is_not_deployings" {
  command = plan
  variables {
    hardened = true
  }
  assert {
    condition     = contains(one([for each in jsondecode(aws_iam_policy.part["deploy-state"].policy).Statement : each.Action if try(each.Sid, "") == "NotTheStatesKey"]), "kms:ScheduleKeyDeletion")
    error_message = "Expected the deletion of the state's key to be denied."
  }
}

run "previews_are_all_that_who_plans_may_write" {
  command = plan
  variables {
    previews = true
    cloud    = { state_prefix = "shop/prod/" }
  }
  assert {
    condition = jsondecode(aws_iam_policy.part["plan-previews"].policy).Statement == [
      { Effect = "Allow", Action = ["s3:DeleteObject", "s3:PutObject"], Resource = ["arn:aws:s3:::acme-terraform-state/shop/prod/preview/*"] },
      { Effect = "Allow", Action = ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"], Resource = ["arn:aws:s3:::acme-raw/.glacier/preview/*"] },
    ]
    error_message = "Expected previews beside the state and in the bucket, and nothing else."
  }
}

run "previews_are_not_written_unasked" {
  command = plan
  assert {
    condition     = !contains(keys(aws_iam_policy.part), "plan-previews")
    error_message = "Expected no policy for previews."
  }
}

run "hardened_previews_use_the_keys_of_state_and_buckets" {
  command = plan
  variables {
    previews = true
    hardened = true
  }
  assert {
    condition = flatten([
      for statement in jsondecode(aws_iam_policy.part["plan-previews"].policy).Statement : statement.Condition.StringLike["kms:EncryptionContext:aws:s3:arn"] if contains(flatten([statement.Action]), "kms:GenerateDataKey")
    ]) == ["arn:aws:s3:::acme-terraform-state", "arn:aws:s3:::acme-terraform-state/*", "arn:aws:s3:::acme-raw", "arn:aws:s3:::acme-raw/.glacier/preview/*"]
    error_message = "Expected keys by S3, for the state and the bucket's previews."
  }
}

run "hardened_code_uses_the_keys_of_buckets" {
  command = plan
  variables {
    hardened = true
  }
  assert {
    condition = flatten([
      for statement in jsondecode(aws_iam_policy.part["deploy-bucket"].policy).Statement : statement.Condition.StringLike["kms:EncryptionContext:aws:s3:arn"] if contains(flatten([statement.Action]), "kms:GenerateDataKey")
    ]) == ["arn:aws:s3:::acme-raw", "arn:aws:s3:::acme-raw/*.glacier/code/*"]
    error_message = "Expected keys by S3, for archives of code."
  }
}
