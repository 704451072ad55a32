data "azurerm_client_config" "current" {}

locals {
  # Built from names, so that it is known in the plan.
  account_id = "/subscriptions/${data.azurerm_client_config.current.subscription_id}/resourceGroups/${var.location.resource_group}/providers/Microsoft.Storage/storageAccounts/${var.name}"
  id         = "${local.account_id}/blobServices/default/containers/${var.cloud.container}"
  closed     = !var.cloud.public_endpoint || length(var.cloud.allowed_ips) > 0
}

resource "azurerm_storage_account" "state" {
  #checkov:skip=CKV_AZURE_33:no queue is used
  #checkov:skip=CKV2_AZURE_33:private endpoints cost money; the module network makes them
  #checkov:skip=CKV_AZURE_59:deployments from elsewhere reach it by Entra's tokens; closed by cloud.public_endpoint = false
  #checkov:skip=CKV_AZURE_35:as CKV_AZURE_59; denied to all but cloud.allowed_ips if some are given
  #checkov:skip=CKV_AZURE_206:hardened turns it on
  name                = var.name
  resource_group_name = var.location.resource_group
  location            = var.location.region
  tags                = var.labels

  account_kind             = "StorageV2"
  account_tier             = "Standard"
  account_replication_type = var.hardened ? "GRS" : "LRS"

  # Entra's tokens only: nobody has a key.
  shared_access_key_enabled       = false
  default_to_oauth_authentication = true
  local_user_enabled              = false

  min_tls_version                  = "TLS1_2"
  https_traffic_only_enabled       = true
  allow_nested_items_to_be_public  = false
  cross_tenant_replication_enabled = false
  allowed_copy_scope               = "AAD"
  public_network_access_enabled    = var.cloud.public_endpoint

  network_rules {
    default_action = local.closed ? "Deny" : "Allow"
    bypass         = ["AzureServices"]
    ip_rules       = var.cloud.allowed_ips
  }

  sas_policy {
    expiration_period = "00.01:00:00"
    expiration_action = "Log"
  }

  blob_properties {
    versioning_enabled = true

    delete_retention_policy {
      days = 30
    }
    container_delete_retention_policy {
      days = 30
    }
  }

  dynamic "identity" {
    for_each = var.cloud.customer_key[*]
    content {
      type         = "UserAssigned"
      identity_ids = [identity.value.identity]
    }
  }

  dynamic "customer_managed_key" {
    for_each = var.cloud.customer_key[*]
    content {
      key_vault_key_id          = customer_managed_key.value.id
      user_assigned_identity_id = customer_managed_key.value.identity
    }
  }
}

resource "azurerm_storage_container" "state" {
  #checkov:skip=CKV2_AZURE_21:hardened logs it by a diagnostic setting, which the check does not know
  name                  = var.cloud.container
  storage_account_id    = azurerm_storage_account.state.id
  container_access_type = "private"
}

# States that were superseded go after a quarter of a year; what is current stays.
resource "azurerm_storage_management_policy" "lifecycle" {
  storage_account_id = azurerm_storage_account.state.id

  rule {
    name    = "oldVersions"
    enabled = true

    filters {
      blob_types   = ["blockBlob"]
      prefix_match = ["${var.cloud.container}/"]
    }
    actions {
      snapshot {
        delete_after_days_since_creation_greater_than = 90
      }
      version {
        delete_after_days_since_creation = 90
      }
    }
  }
}

resource "azurerm_log_analytics_workspace" "access" {
  count               = var.hardened && var.cloud.log_workspace == null ? 1 : 0
  name                = "${var.name}-access"
  resource_group_name = var.location.resource_group
  location            = var.location.region
  tags                = var.labels

  sku                          = "PerGB2018"
  retention_in_days            = 90
  local_authentication_enabled = false
}

resource "azurerm_monitor_diagnostic_setting" "access" {
  count                      = var.hardened ? 1 : 0
  name                       = "access"
  target_resource_id         = "${azurerm_storage_account.state.id}/blobServices/default"
  log_analytics_workspace_id = coalesce(var.cloud.log_workspace, one(azurerm_log_analytics_workspace.access[*].id))

  dynamic "enabled_log" {
    for_each = toset(["StorageRead", "StorageWrite", "StorageDelete"])
    content {
      category = enabled_log.value
    }
  }
}

# Azure deletes an account with all that is in it: this is destroyed first, and stops that.
resource "terraform_data" "guard" {
  input            = { name = var.name, allow_data_loss = var.allow_data_loss }
  triggers_replace = [azurerm_storage_account.state.id]

  provisioner "local-exec" {
    when        = destroy
    interpreter = ["/bin/sh", "-c"]
    command     = <<-EOT
      if [ "$ALLOWED" = true ] || [ "$GLACIER_ALLOW_DATA_LOSS" = true ]; then exit 0; fi
      echo "The storage account $ACCOUNT is kept; allow_data_loss lets it be removed with what is in it." >&2
      exit 1
    EOT
    environment = {
      ACCOUNT = self.input.name
      ALLOWED = tostring(self.input.allow_data_loss)
    }
    quiet = true
  }
}
