mock_provider "azurerm" {
  mock_data "azurerm_client_config" {
    defaults = { subscription_id = "00000000-0000-0000-0000-000000000001", tenant_id = "00000000-0000-0000-0000-000000000002" }
  }
  mock_resource "azurerm_user_assigned_identity" {
    defaults = {
      id           = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/providers/Microsoft.ManagedIdentity/userAssignedIdentities/mocked"
      client_id    = "00000000-0000-0000-0000-00000000000c"
      principal_id = "00000000-0000-0000-0000-00000000000d"
    }
  }
}

variables {
  name       = "glacier-shop-prod"
  location   = { region = "westeurope", resource_group = "shop" }
  repository = "acme/shop"
  state      = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/providers/Microsoft.Storage/storageAccounts/shopstate/blobServices/default/containers/tfstate"
}

# -- whom they trust ------------------------------------------------------------------------------------------------

run "pull_requests_and_the_branch_plan" {
  command = plan
  assert {
    condition     = toset([for each in local.trusted : each.subject if each.role == "plan"]) == toset(["repo:acme/shop:pull_request", "repo:acme/shop:ref:refs/heads/main"])
    error_message = "Expected pull requests and the branch of this repository."
  }
}

run "only_the_branch_deploys" {
  command = plan
  assert {
    condition     = azurerm_federated_identity_credential.github["deploy"].subject == "repo:acme/shop:ref:refs/heads/main"
    error_message = "Expected the branch."
  }
}

run "an_environment_deploys_in_place_of_the_branch" {
  command = plan
  variables {
    github_environment = "production"
  }
  assert {
    condition     = [for each in local.trusted : each.subject if each.role == "deploy"] == ["repo:acme/shop:environment:production"]
    error_message = "Expected the environment, and not the branch."
  }
}

run "further_branches_plan_only" {
  command = plan
  variables {
    cloud = { branches = ["next"] }
  }
  assert {
    condition     = [for each in local.trusted : each.role if endswith(each.subject, "/next")] == ["plan"]
    error_message = "Expected that the branch may plan."
  }
}

run "the_trust_is_in_github_and_for_entra" {
  command = plan
  assert {
    condition     = alltrue([for each in azurerm_federated_identity_credential.github : each.issuer == "https://token.actions.githubusercontent.com" && each.audience == tolist(["api://AzureADTokenExchange"])])
    error_message = "Expected GitHub's tokens for Azure."
  }
}

# -- what they may do -----------------------------------------------------------------------------------------------

run "plan_reads_only" {
  command = plan
  variables {
    kinds = ["bucket", "budget", "network", "registry", "secrets", "spark", "work_pool"]
  }
  assert {
    condition     = [for action in azurerm_role_definition.plan.permissions[0].actions : action if !endswith(action, "/read")] == ["Microsoft.OperationalInsights/workspaces/sharedKeys/action"]
    error_message = "Expected reading, and the keys of workspaces, which are off."
  }
}

run "plan_reads_the_state_only" {
  command = plan
  assert {
    condition     = azurerm_role_definition.state["plan"].permissions[0].data_actions == toset(["Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"])
    error_message = "Expected reading of the state."
  }
}

run "what_a_person_keeps_is_read_only" {
  command = plan
  variables {
    cloud = { kept = "shop/prod/bootstrap/" }
  }
  assert {
    condition = (
      strcontains(azurerm_role_assignment.state["deploy"].condition, ":path] StringNotStartsWith 'shop/prod/bootstrap/'") &&
      azurerm_role_assignment.state["plan"].condition == null
    )
    error_message = "Expected deploy to write nothing of the bootstrap, and to read it."
  }
}

run "rights_follow_the_kinds" {
  command = plan
  variables {
    kinds = ["budget"]
  }
  assert {
    condition = azurerm_role_definition.deploy.permissions[0].actions == tolist([
      "Microsoft.Authorization/roleAssignments/read",
      "Microsoft.Authorization/roleDefinitions/read",
      "Microsoft.Consumption/budgets/delete",
      "Microsoft.Consumption/budgets/read",
      "Microsoft.Consumption/budgets/write",
      "Microsoft.Resources/subscriptions/resourceGroups/read",
    ])
    error_message = "Expected budgets, and nothing of other kinds."
  }
}

run "no_star_in_any_action" {
  command = plan
  variables {
    kinds = ["bucket", "budget", "network", "registry", "secrets", "spark", "work_pool"]
  }
  assert {
    condition     = length([for action in azurerm_role_definition.deploy.permissions[0].actions : action if strcontains(action, "*")]) == 0
    error_message = "Expected actions by name."
  }
}

run "neither_changes_roles_or_whom_it_trusts" {
  command = plan
  variables {
    kinds = ["bucket", "budget", "network", "registry", "secrets", "spark", "work_pool"]
  }
  assert {
    condition = length([
      for action in azurerm_role_definition.deploy.permissions[0].actions : action
      if can(regex("(?i)roleDefinitions/(write|delete)|roleAssignments/(write|delete)|elevateAccess|federatedIdentityCredentials|locks/|listKeys|listCredentials", action))
    ]) == 0
    error_message = "Expected no right over roles, trust, locks or keys."
  }
}

run "neither_can_be_deleted_by_a_deployment" {
  command = plan
  assert {
    condition     = alltrue([for each in azurerm_management_lock.identity : each.lock_level == "CanNotDelete"]) && length(azurerm_management_lock.identity) == 2
    error_message = "Expected a lock on both."
  }
}

run "the_state_cannot_be_deleted_by_a_deployment" {
  command = plan
  assert {
    condition     = azurerm_management_lock.state[0].scope == "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/providers/Microsoft.Storage/storageAccounts/shopstate"
    error_message = "Expected a lock on the state's account."
  }
}

# -- what a deployment may give away --------------------------------------------------------------------------------

run "only_roles_of_the_kinds_are_given" {
  command = plan
  variables {
    kinds = ["registry", "budget"]
  }
  assert {
    condition     = local.granted == tolist(["7f951dda-4ed3-4680-a7ca-43fe172d538d", "8311e382-0749-4cb8-b61a-304f252e45ec"])
    error_message = "Expected AcrPull and AcrPush, and no role of another kind."
  }
}

run "neither_role_can_give_itself_away" {
  command = plan
  variables {
    kinds = ["bucket", "budget", "network", "registry", "secrets", "spark", "work_pool"]
  }
  assert {
    condition     = length(setintersection(toset(local.granted), toset([for each in local.role_names : each.id]))) == 0
    error_message = "Expected that plan, deploy and grant are not among the roles that may be given."
  }
}

run "the_condition_is_delegations" {
  variables {
    kinds = ["registry"]
  }
  assert {
    condition     = azurerm_role_assignment.grant[0].condition == <<-EOT
      (
       (
        !(ActionMatches{'Microsoft.Authorization/roleAssignments/write'})
       )
       OR
       (
        @Request[Microsoft.Authorization/roleAssignments:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {7f951dda-4ed3-4680-a7ca-43fe172d538d, 8311e382-0749-4cb8-b61a-304f252e45ec}
        AND
        @Request[Microsoft.Authorization/roleAssignments:PrincipalType] ForAnyOfAnyValues:StringEqualsIgnoreCase {'ServicePrincipal'}
        AND
        @Request[Microsoft.Authorization/roleAssignments:PrincipalId] ForAnyOfAllValues:GuidNotEquals {00000000-0000-0000-0000-00000000000d, 00000000-0000-0000-0000-00000000000d}
       )
      )
      AND
      (
       (
        !(ActionMatches{'Microsoft.Authorization/roleAssignments/delete'})
       )
       OR
       (
        @Resource[Microsoft.Authorization/roleAssignments:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {7f951dda-4ed3-4680-a7ca-43fe172d538d, 8311e382-0749-4cb8-b61a-304f252e45ec}
        AND
        @Resource[Microsoft.Authorization/roleAssignments:PrincipalType] ForAnyOfAnyValues:StringEqualsIgnoreCase {'ServicePrincipal'}
        AND
        @Resource[Microsoft.Authorization/roleAssignments:PrincipalId] ForAnyOfAllValues:GuidNotEquals {00000000-0000-0000-0000-00000000000d, 00000000-0000-0000-0000-00000000000d}
       )
      )
    EOT
    error_message = "Expected these roles, for identities, and not for plan and deploy themselves."
  }
}

run "nothing_is_given_where_no_kind_needs_it" {
  command = plan
  variables {
    kinds = ["budget", "network"]
  }
  assert {
    condition     = length(azurerm_role_assignment.grant) + length(azurerm_role_definition.grant) + length(azurerm_role_definition.shared) == 0
    error_message = "Expected no right to assign roles."
  }
}

run "roles_for_runs_are_made_here" {
  command = plan
  assert {
    condition     = { for name, each in azurerm_role_definition.shared : name => each.role_definition_id } == { for name in ["join", "read", "start", "write"] : name => uuidv5("url", "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/glacier/${name}") }
    error_message = "Expected the roles under the ids by which buckets and work pools know them."
  }
}

# -- outputs --------------------------------------------------------------------------------------------------------

run "a_workflow_needs_three_ids_and_no_secret" {
  assert {
    condition = jsonencode(output.deploy) == jsonencode({
      client_id       = "00000000-0000-0000-0000-00000000000c"
      subscription_id = "00000000-0000-0000-0000-000000000001"
      tenant_id       = "00000000-0000-0000-0000-000000000002"
    })
    error_message = "Expected what azure/login takes."
  }
}

# -- what is refused ------------------------------------------------------------------------------------------------

run "all_repositories_of_an_owner_are_refused" {
  command = plan
  variables {
    repository = "acme/*"
  }
  expect_failures = [var.repository]
}

run "all_branches_are_refused" {
  command = plan
  variables {
    branch = "*"
  }
  expect_failures = [var.branch]
}

run "a_kind_that_is_not_known_is_refused" {
  command = plan
  variables {
    kinds = ["cluster"]
  }
  expect_failures = [var.kinds]
}

run "more_branches_than_azure_takes_are_refused" {
  command = plan
  variables {
    cloud = { branches = [for each in range(18) : "b${each}"] }
  }
  expect_failures = [var.cloud]
}

run "a_state_by_name_only_is_refused" {
  command = plan
  variables {
    state = "shopstate"
  }
  expect_failures = [var.state]
}

run "a_name_that_azure_refuses_is_refused" {
  command = plan
  variables {
    name = "-shop"
  }
  expect_failures = [var.name]
}
