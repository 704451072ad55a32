# Run by a person, once: GitHub's workflows of one repository become one of two identities, without any key.
data "azurerm_client_config" "current" {}

locals {
  subscription_id = data.azurerm_client_config.current.subscription_id
  group_id        = "/subscriptions/${local.subscription_id}/resourceGroups/${var.location.resource_group}"
  roles_id        = "/subscriptions/${local.subscription_id}/providers/Microsoft.Authorization/roleDefinitions"
  subject         = "repo:${var.repository}"
  kinds           = toset([for kind in var.kinds : kind if contains(keys(local.rights), kind)])

  # A subject is compared as a whole: there is no "any branch".
  trusted = merge(
    { for branch in setsubtract(var.cloud.branches, [var.branch]) : "plan-${substr(replace(branch, "/[^0-9A-Za-z_-]/", "-"), 0, 100)}-${substr(sha256(branch), 0, 6)}" => { role = "plan", subject = "${local.subject}:ref:refs/heads/${branch}" } },
    { plan-branch = { role = "plan", subject = "${local.subject}:ref:refs/heads/${var.branch}" } },
    { plan-pull-request = { role = "plan", subject = "${local.subject}:pull_request" } },
    { deploy = { role = "deploy", subject = var.github_environment == null ? "${local.subject}:ref:refs/heads/${var.branch}" : "${local.subject}:environment:${var.github_environment}" } },
  )

  role_names = {
    for name in ["plan", "deploy", "grant"] : name => { id = uuidv5("url", "${local.group_id}/${var.name}/${name}"), name = "glacier ${var.location.resource_group}/${var.name} ${name}" }
  }
  reading = distinct(sort(concat(local.every_kind, flatten([for kind in local.kinds : local.rights[kind].read]))))
  writing = distinct(sort(concat(local.reading, flatten([for kind in local.kinds : local.rights[kind].write]))))

  # Of the states, what begins with this is written by a person only.
  not_kept = <<-EOT
    (
     (
      !(ActionMatches{'${local.blobs}/add/action'})
      AND
      !(ActionMatches{'${local.blobs}/delete'})
      AND
      !(ActionMatches{'${local.blobs}/write'})
     )
     OR
     (
      @Resource[${local.blobs}:path] StringNotStartsWith '${replace(coalesce(var.cloud.kept, "none"), "'", "''")}'
     )
    )
  EOT

  account = var.state == null ? null : regex("^(.+)/blobServices/default/containers/[^/]+$", var.state)[0]
}

resource "azurerm_user_assigned_identity" "github" {
  for_each            = toset(["plan", "deploy"])
  name                = "${var.name}-${each.key}"
  resource_group_name = var.location.resource_group
  location            = var.location.region
  tags                = var.labels
}

resource "azurerm_federated_identity_credential" "github" {
  for_each                  = local.trusted
  name                      = each.key
  user_assigned_identity_id = azurerm_user_assigned_identity.github[each.value.role].id
  issuer                    = "https://token.actions.githubusercontent.com"
  audience                  = ["api://AzureADTokenExchange"]
  subject                   = each.value.subject
}

# -- what each may do -----------------------------------------------------------------------------------------------

resource "azurerm_role_definition" "plan" {
  name               = local.role_names.plan.name
  description        = "Reads what Glacier's modules make."
  role_definition_id = local.role_names.plan.id
  scope              = local.group_id
  assignable_scopes  = [local.group_id]

  permissions {
    actions = local.reading
  }
}

resource "azurerm_role_definition" "deploy" {
  name               = local.role_names.deploy.name
  description        = "Makes what Glacier's modules make, of the kinds that were granted."
  role_definition_id = local.role_names.deploy.id
  scope              = local.group_id
  assignable_scopes  = [local.group_id]

  permissions {
    actions = local.writing
  }
}

resource "azurerm_role_assignment" "plan" {
  name               = uuidv5("url", "${local.group_id}/${var.name}/plan/assignment")
  scope              = local.group_id
  role_definition_id = "${local.roles_id}/${local.role_names.plan.id}"
  principal_id       = azurerm_user_assigned_identity.github["plan"].principal_id
  principal_type     = "ServicePrincipal"
  description        = "glacier: plans of ${var.repository}"
  depends_on         = [azurerm_role_definition.plan]
}

resource "azurerm_role_assignment" "deploy" {
  name               = uuidv5("url", "${local.group_id}/${var.name}/deploy/assignment")
  scope              = local.group_id
  role_definition_id = "${local.roles_id}/${local.role_names.deploy.id}"
  principal_id       = azurerm_user_assigned_identity.github["deploy"].principal_id
  principal_type     = "ServicePrincipal"
  description        = "glacier: deployments of ${var.repository}"
  depends_on         = [azurerm_role_definition.deploy]
}

# -- the state ------------------------------------------------------------------------------------------------------

resource "azurerm_role_definition" "state" {
  for_each = var.state == null ? {} : {
    plan   = ["${local.blobs}/read"]
    deploy = ["${local.blobs}/add/action", "${local.blobs}/delete", "${local.blobs}/read", "${local.blobs}/write"]
  }
  name               = "glacier ${var.location.resource_group}/${var.name} state ${each.key}"
  description        = "What ${each.key} does with Terraform's state."
  role_definition_id = uuidv5("url", "${local.group_id}/${var.name}/state/${each.key}")
  scope              = regex("^/subscriptions/[^/]+/resourceGroups/[^/]+", var.state)
  assignable_scopes  = [regex("^/subscriptions/[^/]+/resourceGroups/[^/]+", var.state)]

  permissions {
    data_actions = each.value
  }
}

resource "azurerm_role_assignment" "state" {
  for_each           = var.state == null ? toset([]) : toset(["plan", "deploy"])
  name               = uuidv5("url", "${var.state}/${var.name}/${each.key}")
  scope              = var.state
  role_definition_id = "${local.roles_id}/${uuidv5("url", "${local.group_id}/${var.name}/state/${each.key}")}"
  principal_id       = azurerm_user_assigned_identity.github[each.key].principal_id
  principal_type     = "ServicePrincipal"
  description        = "glacier: the state of ${var.repository}"
  condition_version  = each.key == "deploy" && var.cloud.kept != null ? "2.0" : null
  condition          = each.key == "deploy" && var.cloud.kept != null ? local.not_kept : null
  depends_on         = [azurerm_role_definition.state]
}

# -- what deployments may give away ---------------------------------------------------------------------------------

resource "azurerm_role_definition" "shared" {
  for_each           = { for name, each in local.shared : name => each if contains(var.kinds, each.kind) }
  name               = "glacier ${var.location.resource_group} ${each.key}"
  description        = "Given to runs, workers and who submits, by deployments."
  role_definition_id = local.shared_ids[each.key]
  scope              = local.group_id
  assignable_scopes  = [local.group_id]

  permissions {
    actions      = each.value.actions
    data_actions = each.value.data_actions
  }
}

resource "azurerm_role_definition" "grant" {
  count              = length(local.granted) > 0 ? 1 : 0
  name               = local.role_names.grant.name
  description        = "Assigns roles; a condition says which, and to whom."
  role_definition_id = local.role_names.grant.id
  scope              = local.group_id
  assignable_scopes  = [local.group_id]

  permissions {
    actions = ["Microsoft.Authorization/roleAssignments/delete", "Microsoft.Authorization/roleAssignments/write"]
  }
}

# Only these roles, only to identities, and never to the two that are made here: neither can widen what it may do itself.
resource "azurerm_role_assignment" "grant" {
  count              = length(local.granted) > 0 ? 1 : 0
  name               = uuidv5("url", "${local.group_id}/${var.name}/grant/assignment")
  scope              = local.group_id
  role_definition_id = "${local.roles_id}/${local.role_names.grant.id}"
  principal_id       = azurerm_user_assigned_identity.github["deploy"].principal_id
  principal_type     = "ServicePrincipal"
  description        = "glacier: deployments of ${var.repository} assign roles"
  condition_version  = "2.0"
  condition          = <<-EOT
    (
     (
      !(ActionMatches{'Microsoft.Authorization/roleAssignments/write'})
     )
     OR
     (
      @Request[Microsoft.Authorization/roleAssignments:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {${join(", ", local.granted)}}
      AND
      @Request[Microsoft.Authorization/roleAssignments:PrincipalType] ForAnyOfAnyValues:StringEqualsIgnoreCase {'ServicePrincipal'}
      AND
      @Request[Microsoft.Authorization/roleAssignments:PrincipalId] ForAnyOfAllValues:GuidNotEquals {${join(", ", [for name in ["plan", "deploy"] : azurerm_user_assigned_identity.github[name].principal_id])}}
     )
    )
    AND
    (
     (
      !(ActionMatches{'Microsoft.Authorization/roleAssignments/delete'})
     )
     OR
     (
      @Resource[Microsoft.Authorization/roleAssignments:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {${join(", ", local.granted)}}
      AND
      @Resource[Microsoft.Authorization/roleAssignments:PrincipalType] ForAnyOfAnyValues:StringEqualsIgnoreCase {'ServicePrincipal'}
      AND
      @Resource[Microsoft.Authorization/roleAssignments:PrincipalId] ForAnyOfAllValues:GuidNotEquals {${join(", ", [for name in ["plan", "deploy"] : azurerm_user_assigned_identity.github[name].principal_id])}}
     )
    )
  EOT
  depends_on         = [azurerm_role_definition.grant, azurerm_role_definition.shared]
}

# -- what deployments may not remove --------------------------------------------------------------------------------

# They may delete identities and accounts in the resource group, but not these: locks are not theirs to lift.
resource "azurerm_management_lock" "identity" {
  for_each   = azurerm_user_assigned_identity.github
  name       = "glacier"
  scope      = each.value.id
  lock_level = "CanNotDelete"
  notes      = "GitHub's workflows of ${var.repository} become this identity."
  depends_on = [azurerm_federated_identity_credential.github]
}

resource "azurerm_management_lock" "state" {
  count      = var.state == null ? 0 : 1
  name       = "glacier"
  scope      = local.account
  lock_level = "CanNotDelete"
  notes      = "Terraform's state is here."
}
