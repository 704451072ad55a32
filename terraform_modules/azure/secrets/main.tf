data "azurerm_client_config" "current" {}

locals {
  # Built from names, so that it is known in the plan.
  group_id = "/subscriptions/${data.azurerm_client_config.current.subscription_id}/resourceGroups/${var.location.resource_group}"
  makes    = var.location.vault == null
  # a vault's name is one for the whole world
  vault    = local.makes ? coalesce(var.cloud.vault, "glacier-${substr(sha256("${local.group_id}/${var.prefix}"), 0, 12)}") : basename(var.location.vault)
  vault_id = local.makes ? "${local.group_id}/providers/Microsoft.KeyVault/vaults/${local.vault}" : var.location.vault

  # Key Vault takes no underscore.
  names  = { for name in var.names : name => replace("${var.prefix}${name}", "_", "-") }
  ids    = { for name, stored in local.names : name => "${local.vault_id}/secrets/${stored}" }
  closed = !var.cloud.public_endpoint || length(var.cloud.allowed_ips) > 0

  grants = merge([
    for reader, each in var.readers : { for name in each.names : "${reader}/${name}" => { identity = each.identity, name = name } }
  ]...)
  read_role = "/subscriptions/${data.azurerm_client_config.current.subscription_id}/providers/Microsoft.Authorization/roleDefinitions/4633458b-17de-408a-b874-0445c86b69e6" # Key Vault Secrets User
}

# The place and the rights. Values are put in by people, and are never Terraform's.
resource "azurerm_key_vault" "secrets" {
  #checkov:skip=CKV2_AZURE_32:private endpoints cost money; the module network makes them
  #checkov:skip=CKV_AZURE_189:runs elsewhere reach it by Entra's tokens; closed by cloud.public_endpoint = false
  count               = local.makes ? 1 : 0
  name                = local.vault
  resource_group_name = var.location.resource_group
  location            = var.location.region
  tags                = var.labels
  tenant_id           = data.azurerm_client_config.current.tenant_id
  sku_name            = var.hardened ? "premium" : "standard"

  rbac_authorization_enabled    = true
  purge_protection_enabled      = true
  soft_delete_retention_days    = 90
  public_network_access_enabled = var.cloud.public_endpoint

  network_acls {
    default_action = local.closed ? "Deny" : "Allow"
    bypass         = "AzureServices"
    ip_rules       = var.cloud.allowed_ips
  }
}

resource "azurerm_role_assignment" "reader" {
  for_each           = local.grants
  name               = uuidv5("url", "${local.vault_id}/${each.key}")
  scope              = lookup(local.ids, each.value.name, "")
  role_definition_id = local.read_role
  principal_id       = each.value.identity
  principal_type     = var.cloud.principal_type
  description        = "glacier: ${each.key}"

  lifecycle {
    precondition {
      condition     = contains(var.names, each.value.name)
      error_message = "A reader reads a secret that is not in names: ${each.key}."
    }
  }

  depends_on = [azurerm_key_vault.secrets]
}

resource "azurerm_log_analytics_workspace" "access" {
  count               = local.makes && var.hardened && var.cloud.log_workspace == null ? 1 : 0
  name                = "${local.vault}-access"
  resource_group_name = var.location.resource_group
  location            = var.location.region
  tags                = var.labels

  sku                          = "PerGB2018"
  retention_in_days            = 90
  local_authentication_enabled = false
}

resource "azurerm_monitor_diagnostic_setting" "access" {
  count                      = local.makes && var.hardened ? 1 : 0
  name                       = "access"
  target_resource_id         = azurerm_key_vault.secrets[0].id
  log_analytics_workspace_id = coalesce(var.cloud.log_workspace, one(azurerm_log_analytics_workspace.access[*].id))

  enabled_log {
    category = "AuditEvent"
  }
}

# Azure deletes a vault with all that is in it, for ninety days: this is destroyed first, and stops that.
resource "terraform_data" "guard" {
  count            = local.makes ? 1 : 0
  input            = { name = local.vault, allow_data_loss = var.allow_data_loss }
  triggers_replace = [azurerm_key_vault.secrets[0].id]

  provisioner "local-exec" {
    when        = destroy
    interpreter = ["/bin/sh", "-c"]
    command     = <<-EOT
      if [ "$ALLOWED" = true ] || [ "$GLACIER_ALLOW_DATA_LOSS" = true ]; then exit 0; fi
      echo "The Key Vault $VAULT is kept; allow_data_loss lets it be removed with what is in it." >&2
      exit 1
    EOT
    environment = {
      VAULT   = self.input.name
      ALLOWED = tostring(self.input.allow_data_loss)
    }
    quiet = true
  }
}
