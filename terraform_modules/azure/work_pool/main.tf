data "azurerm_client_config" "current" {}

locals {
  subscription_id = data.azurerm_client_config.current.subscription_id
  # Built from names, so that it is known in the plan.
  group_id = "/subscriptions/${local.subscription_id}/resourceGroups/${var.location.resource_group}"
  roles_id = "/subscriptions/${local.subscription_id}/providers/Microsoft.Authorization/roleDefinitions"
  base     = trim(substr(replace(var.name, "/[^0-9A-Za-z]+/", "-"), 0, 50), "-")
  on_aci   = startswith(var.type, "azure-container-instance")

  # What Azure refuses in a name is replaced; a hash keeps names apart.
  identity_names = {
    for name in keys(var.pipelines) : name => can(regex("^[0-9A-Za-z_-]{1,70}$", name)) ? "${local.base}-${name}" :
    "${local.base}-${substr(replace(name, "/[^0-9A-Za-z_]+/", "-"), 0, 60)}-${substr(sha256(name), 0, 6)}"
  }
  identity_ids = {
    for name, each in local.identity_names : name => "${local.group_id}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/${each}"
  }

  # Images in Azure's registry are pulled by the run's own identity.
  images     = { for name, each in var.pipelines : name => each.image == null ? var.image : each.image }
  registries = { for name, image in local.images : name => split("/", image)[0] if can(regex("^[a-z0-9]+\\.azurecr\\.io/", image)) }
}

# One identity for the runs of each pipeline. What it may do stands at the buckets (readers, writers) and secrets.
resource "azurerm_user_assigned_identity" "pipeline" {
  for_each            = local.identity_names
  name                = each.value
  resource_group_name = var.location.resource_group
  location            = var.location.region
  tags                = merge(var.labels, { glacier-pipeline = each.key })
}
