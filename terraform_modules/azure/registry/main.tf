data "azurerm_client_config" "current" {}

locals {
  # Built from names, so that it is known in the plan.
  group_id = "/subscriptions/${data.azurerm_client_config.current.subscription_id}/resourceGroups/${var.location.resource_group}"
  id       = "${local.group_id}/providers/Microsoft.ContainerRegistry/registries/${var.name}"
  roles_id = "/subscriptions/${data.azurerm_client_config.current.subscription_id}/providers/Microsoft.Authorization/roleDefinitions"
  pull     = "${local.roles_id}/7f951dda-4ed3-4680-a7ca-43fe172d538d" # AcrPull
  push     = "${local.roles_id}/8311e382-0749-4cb8-b61a-304f252e45ec" # AcrPush

  grants = merge(
    { for name, each in var.readers : "read/${name}" => { identity = each.identity, role = local.pull } },
    { for name, each in var.writers : "write/${name}" => { identity = each.identity, role = local.push } },
  )
}

resource "azurerm_container_registry" "registry" {
  #checkov:skip=CKV_AZURE_139:images are pushed from where they are built, by Entra's tokens; closed by cloud.public_endpoint = false
  #checkov:skip=CKV_AZURE_163:hardened turns it on
  #checkov:skip=CKV_AZURE_164:azurerm 5 has no trust policy any more, and Azure ends it
  #checkov:skip=CKV_AZURE_165:the arguments of georeplications differ between azurerm 4 and 5
  #checkov:skip=CKV_AZURE_166:nobody could pull an image until a scanner of one's own has let it out of quarantine
  #checkov:skip=CKV_AZURE_233:hardened turns it on
  #checkov:skip=CKV_AZURE_237:hardened turns it on
  name                = var.name
  resource_group_name = var.location.resource_group
  location            = var.location.region
  tags                = var.labels

  sku                           = var.hardened ? "Premium" : "Basic"
  admin_enabled                 = false
  anonymous_pull_enabled        = false
  public_network_access_enabled = var.cloud.public_endpoint

  # What only the premium registry has.
  retention_policy_in_days = var.hardened ? var.untagged_days : null
  zone_redundancy_enabled  = var.hardened
  data_endpoint_enabled    = var.hardened

  lifecycle {
    precondition {
      condition     = var.hardened || var.cloud.public_endpoint
      error_message = "Only the premium registry can be closed to public addresses: set hardened = true."
    }
  }
}

# Every night the registry removes what is old, by its own task and with its own rights.
resource "azurerm_container_registry_task" "retention" {
  name                  = "retention"
  container_registry_id = azurerm_container_registry.registry.id
  tags                  = var.labels

  platform {
    os = "Linux"
  }
  encoded_step {
    task_content = base64encode(yamlencode({
      version = "v1.1.0"
      steps = [{
        cmd                             = "acr purge --filter '.*:.*' --keep ${var.keep_images} --ago ${var.untagged_days}d --untagged"
        disableWorkingDirectoryOverride = true
        timeout                         = 3600
      }]
    }))
  }
  timer_trigger {
    name     = "nightly"
    schedule = "0 3 * * *"
    enabled  = true
  }
}

resource "azurerm_role_assignment" "access" {
  for_each           = local.grants
  name               = uuidv5("url", "${local.id}/${each.key}")
  scope              = local.id
  role_definition_id = each.value.role
  principal_id       = each.value.identity
  principal_type     = var.cloud.principal_type
  description        = "glacier: ${each.key}"
  depends_on         = [azurerm_container_registry.registry]
}

# Azure deletes a registry with all that is in it: this is destroyed first, and stops that.
resource "terraform_data" "guard" {
  input            = { name = var.name, allow_data_loss = var.allow_data_loss }
  triggers_replace = [azurerm_container_registry.registry.id]

  provisioner "local-exec" {
    when        = destroy
    interpreter = ["/bin/sh", "-c"]
    command     = <<-EOT
      if [ "$ALLOWED" = true ] || [ "$GLACIER_ALLOW_DATA_LOSS" = true ]; then exit 0; fi
      echo "The registry $REGISTRY is kept; allow_data_loss lets it be removed with what is in it." >&2
      exit 1
    EOT
    environment = {
      REGISTRY = self.input.name
      ALLOWED  = tostring(self.input.allow_data_loss)
    }
    quiet = true
  }
}
