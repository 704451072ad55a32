data "azurerm_client_config" "current" {}

locals {
  # Built from names, so that it is known in the plan.
  group_id      = "/subscriptions/${data.azurerm_client_config.current.subscription_id}/resourceGroups/${var.location.resource_group}"
  makes_account = var.location.account == null
  digits        = substr(sha256("${local.group_id}/${var.name}"), 0, 6) # an account's name is one for the whole world
  letters       = substr(replace(var.name, "-", ""), 0, 18)
  account       = local.makes_account ? coalesce(var.cloud.account, "${local.letters}${local.digits}") : basename(var.location.account)
  account_id    = local.makes_account ? "${local.group_id}/providers/Microsoft.Storage/storageAccounts/${local.account}" : var.location.account
  # roles are of the account's resource group, which may be another
  role_group = regex("^/subscriptions/[^/]+/resourceGroups/[^/]+", local.account_id)
  id         = "${local.account_id}/blobServices/default/containers/${var.name}"
  copy       = "${local.letters}${substr(sha256("${local.group_id}/${var.name}/copy"), 0, 6)}"
  closed     = !var.cloud.public_endpoint || length(var.cloud.allowed_ips) > 0
}

resource "azurerm_storage_account" "account" {
  #checkov:skip=CKV_AZURE_33:no queue is used
  #checkov:skip=CKV2_AZURE_33:private endpoints cost money; the module network makes them
  #checkov:skip=CKV_AZURE_59:workers elsewhere reach it by Entra's tokens; closed by cloud.public_endpoint = false
  #checkov:skip=CKV_AZURE_35:as CKV_AZURE_59; denied to all but cloud.allowed_ips if some are given
  #checkov:skip=CKV_AZURE_206:hardened turns it on
  count               = local.makes_account ? 1 : 0
  name                = local.account
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
    versioning_enabled  = true
    change_feed_enabled = var.replica != null # which replication reads

    delete_retention_policy {
      days = 7
    }
    container_delete_retention_policy {
      days = 7
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

resource "azurerm_storage_container" "bucket" {
  #checkov:skip=CKV2_AZURE_21:hardened logs it by a diagnostic setting, which the check does not know
  name                  = var.name
  storage_account_id    = local.makes_account ? azurerm_storage_account.account[0].id : var.location.account
  container_access_type = "private"

  lifecycle {
    precondition {
      condition     = local.makes_account || var.lifecycle_days == local.default_days
      error_message = "A storage account has one lifecycle policy: in an account that exists, give lifecycle_days to the module that makes it (azure/account, buckets)."
    }
    precondition {
      condition     = local.makes_account || var.replica == null
      error_message = "Replication is of a whole storage account: in an account that exists, leave replica out; the module azure/account copies to the paired region if it is hardened."
    }
  }
}

resource "azurerm_storage_management_policy" "lifecycle" {
  count              = local.makes_account ? 1 : 0
  storage_account_id = azurerm_storage_account.account[0].id

  dynamic "rule" {
    for_each = local.rules
    content {
      name    = rule.key
      enabled = true

      filters {
        blob_types   = ["blockBlob", "appendBlob"]
        prefix_match = rule.value.prefixes
      }

      actions {
        dynamic "base_blob" {
          for_each = rule.value.current ? [rule.value.days] : []
          content {
            delete_after_days_since_modification_greater_than = base_blob.value
          }
        }
        snapshot {
          delete_after_days_since_creation_greater_than = rule.value.days
        }
        version {
          delete_after_days_since_creation = rule.value.days
        }
      }
    }
  }
}

resource "azurerm_storage_account" "copy" {
  #checkov:skip=CKV_AZURE_33:no queue is used
  #checkov:skip=CKV2_AZURE_1:a copy is encrypted by keys of Microsoft
  #checkov:skip=CKV2_AZURE_33:private endpoints cost money; the module network makes them
  #checkov:skip=CKV_AZURE_59:workers elsewhere reach it by Entra's tokens; closed by cloud.public_endpoint = false
  #checkov:skip=CKV_AZURE_35:as CKV_AZURE_59; denied to all but cloud.allowed_ips if some are given
  #checkov:skip=CKV_AZURE_206:it is the copy
  #checkov:skip=CKV_AZURE_43:it is made and named with a replica only, and without one the check takes what is no name for it
  count               = local.makes_account && var.replica != null ? 1 : 0
  name                = local.copy
  resource_group_name = var.location.resource_group
  location            = var.replica.region
  tags                = var.labels

  account_kind             = "StorageV2"
  account_tier             = "Standard"
  account_replication_type = "LRS"

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
      days = 7
    }
    container_delete_retention_policy {
      days = 7
    }
  }
}

resource "azurerm_storage_container" "copy" {
  #checkov:skip=CKV2_AZURE_21:readers read the bucket; replication alone writes the copy
  count                 = local.makes_account && var.replica != null ? 1 : 0
  name                  = var.name
  storage_account_id    = azurerm_storage_account.copy[0].id
  container_access_type = "private"
}

resource "azurerm_storage_object_replication" "copy" {
  count                          = local.makes_account && var.replica != null ? 1 : 0
  source_storage_account_id      = azurerm_storage_account.account[0].id
  destination_storage_account_id = azurerm_storage_account.copy[0].id

  rules {
    source_container_name      = azurerm_storage_container.bucket.name
    destination_container_name = azurerm_storage_container.copy[0].name
    copy_blobs_created_after   = "Everything"
  }
}

resource "azurerm_log_analytics_workspace" "access" {
  count               = local.makes_account && var.hardened && var.cloud.log_workspace == null ? 1 : 0
  name                = "${local.account}-access"
  resource_group_name = var.location.resource_group
  location            = var.location.region
  tags                = var.labels

  sku                          = "PerGB2018"
  retention_in_days            = 90
  local_authentication_enabled = false
}

resource "azurerm_monitor_diagnostic_setting" "access" {
  count                      = local.makes_account && var.hardened ? 1 : 0
  name                       = "access"
  target_resource_id         = "${azurerm_storage_account.account[0].id}/blobServices/default"
  log_analytics_workspace_id = coalesce(var.cloud.log_workspace, one(azurerm_log_analytics_workspace.access[*].id))

  dynamic "enabled_log" {
    for_each = toset(["StorageRead", "StorageWrite", "StorageDelete"])
    content {
      category = enabled_log.value
    }
  }
}

# Azure deletes a container with all that is in it: this is destroyed first, and stops that.
resource "terraform_data" "guard" {
  input            = { name = var.name, allow_data_loss = var.allow_data_loss }
  triggers_replace = [azurerm_storage_container.bucket.id]

  provisioner "local-exec" {
    when        = destroy
    interpreter = ["/bin/sh", "-c"]
    command     = <<-EOT
      if [ "$ALLOWED" = true ] || [ "$GLACIER_ALLOW_DATA_LOSS" = true ]; then exit 0; fi
      echo "The container $BUCKET is kept; allow_data_loss lets it be removed with what is in it." >&2
      exit 1
    EOT
    environment = {
      BUCKET  = self.input.name
      ALLOWED = tostring(self.input.allow_data_loss)
    }
    quiet = true
  }
}
