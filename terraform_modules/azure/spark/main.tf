data "azurerm_client_config" "current" {}

locals {
  # Built from names, so that it is known in the plan.
  group_id     = "/subscriptions/${data.azurerm_client_config.current.subscription_id}/resourceGroups/${var.location.resource_group}"
  workspace_id = "${local.group_id}/providers/Microsoft.Databricks/workspaces/${var.name}"
  roles_id     = "/subscriptions/${data.azurerm_client_config.current.subscription_id}/providers/Microsoft.Authorization/roleDefinitions"
  role         = "${local.roles_id}/${uuidv5("url", "${var.cloud.shared_roles ? "${local.group_id}/glacier" : local.workspace_id}/submit")}"

  # What Azure refuses in a name is replaced; a hash keeps names apart.
  names = {
    for name in keys(var.pipelines) : name => can(regex("^[0-9A-Za-z_-]{1,60}$", name)) ? "${var.name}-${name}" :
    "${var.name}-${substr(replace(name, "/[^0-9A-Za-z_]+/", "-"), 0, 50)}-${substr(sha256(name), 0, 6)}"
  }
}

# Azure's Spark is Databricks. Cluster policies and what is in the workspace are another module's.
resource "azurerm_databricks_workspace" "spark" {
  #checkov:skip=CKV2_AZURE_48:encrypted by keys of Microsoft; nothing of Glacier is kept in the workspace's own store
  name                = var.name
  resource_group_name = var.location.resource_group
  location            = var.location.region
  tags                = var.labels

  sku                                   = "premium" # others have no Unity Catalog
  managed_resource_group_name           = "${var.name}-managed"
  public_network_access_enabled         = var.cloud.public_endpoint
  network_security_group_rules_required = var.cloud.public_endpoint ? null : "NoAzureDatabricksRules"

  custom_parameters {
    no_public_ip                                         = true
    virtual_network_id                                   = try(var.network.id, null)
    public_subnet_name                                   = try(var.cloud.subnets.host.name, null)
    public_subnet_network_security_group_association_id  = try(var.cloud.subnets.host.association, null)
    private_subnet_name                                  = try(var.cloud.subnets.container.name, null)
    private_subnet_network_security_group_association_id = try(var.cloud.subnets.container.association, null)
  }

  dynamic "enhanced_security_compliance" {
    for_each = var.hardened ? [true] : []
    content {
      automatic_cluster_update_enabled     = true
      enhanced_security_monitoring_enabled = true
    }
  }

  lifecycle {
    precondition {
      condition     = (var.network == null) == (var.cloud.subnets == null)
      error_message = "In a network of one's own Databricks wants two subnets that are delegated to it: network and cloud.subnets go together."
    }
  }
}

# One identity for the jobs of each pipeline, and what lends it to Unity Catalog. What it may do stands at the buckets.
resource "azurerm_user_assigned_identity" "pipeline" {
  for_each            = local.names
  name                = each.value
  resource_group_name = var.location.resource_group
  location            = var.location.region
  tags                = merge(var.labels, { glacier-pipeline = each.key })
}

resource "azurerm_databricks_access_connector" "pipeline" {
  for_each            = local.names
  name                = each.value
  resource_group_name = var.location.resource_group
  location            = var.location.region
  tags                = merge(var.labels, { glacier-pipeline = each.key })

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.pipeline[each.key].id]
  }
}

# -- who may submit -------------------------------------------------------------------------------------------------

resource "azurerm_role_definition" "submit" {
  count              = length(var.submitters) > 0 && !var.cloud.shared_roles ? 1 : 0
  name               = "glacier ${var.location.resource_group}/${var.name} submit"
  description        = "Finds the workspace; what may be done in it is said there."
  role_definition_id = uuidv5("url", "${local.workspace_id}/submit")
  scope              = local.group_id
  assignable_scopes  = [local.group_id]

  permissions {
    actions = ["Microsoft.Databricks/workspaces/read"]
  }
}

resource "azurerm_role_assignment" "submit" {
  for_each           = var.submitters
  name               = uuidv5("url", "${local.workspace_id}/submit/${each.key}")
  scope              = local.workspace_id
  role_definition_id = local.role
  principal_id       = each.value.identity
  principal_type     = "ServicePrincipal"
  description        = "glacier: ${each.key} submits"
  depends_on         = [azurerm_databricks_workspace.spark, azurerm_role_definition.submit]
}
