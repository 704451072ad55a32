# Who starts runs: the worker that is made here, or a principal that was there before.

locals {
  service          = var.worker == "service"
  starts           = local.on_aci && (local.service || var.cloud.worker_identity != null)
  worker_principal = local.service ? format("%s", one(azurerm_user_assigned_identity.worker[*].principal_id)) : var.cloud.worker_identity

  makes_roles = !var.cloud.shared_roles
  whose       = local.makes_roles ? var.name : "glacier" # as the module identity has it
  start_role  = coalesce(try(var.cloud.roles.start, null), "${local.roles_id}/${uuidv5("url", "${local.group_id}/${local.whose}/start")}")
  join_role   = coalesce(try(var.cloud.roles.join, null), "${local.roles_id}/${uuidv5("url", "${local.group_id}/${local.whose}/join")}")
  # Azure's own role: to give an identity to what is started.
  identity_role = "${local.roles_id}/f1a07417-d97a-45cb-824c-7a7467783830" # Managed Identity Operator
  secret_role   = "${local.roles_id}/4633458b-17de-408a-b874-0445c86b69e6" # Key Vault Secrets User

  subnet     = try(var.network.subnets[0], null) # a container group takes one
  join_scope = try(regex("^/subscriptions/[^/]+/resourceGroups/[^/]+", local.subnet), local.group_id)
  secrets = {
    for variable, name in { PREFECT_API_KEY = var.server.api_key_secret, PREFECT_API_AUTH_STRING = var.server.auth_string_secret } :
    variable => name if name != null
  }
  vault_url = var.cloud.key_vault == null ? "" : "https://${basename(var.cloud.key_vault)}.vault.azure.net"

  # The values of secrets are read by the worker itself, with its identity, when it starts: neither Terraform nor the
  # container group's settings have them.
  start = <<-EOT
    import json, os, urllib.request

    secrets = json.loads(os.environ["GLACIER_WORKER_SECRETS"])
    if secrets:
        from azure.identity import ManagedIdentityCredential

        credential = ManagedIdentityCredential(client_id=os.environ["AZURE_CLIENT_ID"])
        token = credential.get_token("https://vault.azure.net/.default").token
    for variable, url in secrets.items():
        request = urllib.request.Request(url, headers={"Authorization": "Bearer " + token})
        with urllib.request.urlopen(request, timeout=30) as answer:
            os.environ[variable] = json.load(answer)["value"]
    command = ["prefect", "worker", "start", "--pool", os.environ["GLACIER_WORK_POOL"]]
    os.execvp("prefect", [*command, "--type", "azure-container-instance"])
  EOT
}

resource "azurerm_user_assigned_identity" "worker" {
  count               = local.service ? 1 : 0
  name                = "${local.base}-worker"
  resource_group_name = var.location.resource_group
  location            = var.location.region
  tags                = var.labels
}

# -- rights ---------------------------------------------------------------------------------------------------------

resource "azurerm_role_definition" "start" {
  count              = local.starts && local.makes_roles && try(var.cloud.roles.start, null) == null ? 1 : 0
  name               = "glacier ${var.location.resource_group}/${var.name} start"
  description        = "Starts, watches and removes container groups, as the worker of the Prefect work pool ${var.name} does."
  role_definition_id = uuidv5("url", "${local.group_id}/${var.name}/start")
  scope              = local.group_id
  assignable_scopes  = [local.group_id]

  permissions {
    actions = [
      "Microsoft.ContainerInstance/containerGroups/containers/logs/read",
      "Microsoft.ContainerInstance/containerGroups/delete",
      "Microsoft.ContainerInstance/containerGroups/read",
      "Microsoft.ContainerInstance/containerGroups/stop/action",
      "Microsoft.ContainerInstance/containerGroups/write",
      "Microsoft.ContainerInstance/locations/operations/read",
      "Microsoft.Resources/deployments/operations/read",
      "Microsoft.Resources/deployments/operationstatuses/read",
      "Microsoft.Resources/deployments/read",
      "Microsoft.Resources/deployments/validate/action",
      "Microsoft.Resources/deployments/write",
      "Microsoft.Resources/subscriptions/resourceGroups/read",
    ]
  }
}

resource "azurerm_role_assignment" "start" {
  count              = local.starts ? 1 : 0
  name               = uuidv5("url", "${local.group_id}/${var.name}/worker")
  scope              = local.group_id
  role_definition_id = local.start_role
  principal_id       = local.worker_principal
  principal_type     = "ServicePrincipal"
  description        = "glacier: the worker of ${var.name} starts runs"
  depends_on         = [azurerm_role_definition.start]
}

# The worker gives runs these identities and no other.
resource "azurerm_role_assignment" "identity" {
  for_each           = local.starts ? local.identity_ids : {}
  name               = uuidv5("url", "${each.value}/${var.name}/worker")
  scope              = each.value
  role_definition_id = local.identity_role
  principal_id       = local.worker_principal
  principal_type     = "ServicePrincipal"
  description        = "glacier: the worker of ${var.name} gives runs of ${each.key} their identity"
  depends_on         = [azurerm_user_assigned_identity.pipeline]
}

resource "azurerm_role_definition" "join" {
  count              = local.starts && var.network != null && local.makes_roles && try(var.cloud.roles.join, null) == null ? 1 : 0
  name               = "glacier ${var.location.resource_group}/${var.name} join"
  description        = "Puts container groups into a subnet, as the worker of the Prefect work pool ${var.name} does."
  role_definition_id = uuidv5("url", "${local.group_id}/${var.name}/join")
  scope              = local.join_scope # the network may be in another resource group
  assignable_scopes  = [local.join_scope]

  permissions {
    actions = ["Microsoft.Network/virtualNetworks/subnets/join/action", "Microsoft.Network/virtualNetworks/subnets/read"]
  }
}

resource "azurerm_role_assignment" "join" {
  count              = local.starts && var.network != null ? 1 : 0
  name               = uuidv5("url", "${local.group_id}/${var.name}/worker/subnet")
  scope              = local.subnet
  role_definition_id = local.join_role
  principal_id       = local.worker_principal
  principal_type     = "ServicePrincipal"
  description        = "glacier: the worker of ${var.name} puts runs into the subnet"
  depends_on         = [azurerm_role_definition.join]
}

resource "azurerm_role_assignment" "secret" {
  for_each           = local.service && var.cloud.key_vault != null ? local.secrets : {}
  name               = uuidv5("url", "${local.group_id}/${var.name}/worker/${each.key}")
  scope              = "${var.cloud.key_vault}/secrets/${each.value}"
  role_definition_id = local.secret_role
  principal_id       = local.worker_principal
  principal_type     = "ServicePrincipal"
  description        = "glacier: the worker of ${var.name} reads ${each.key}"
}

# -- the worker -----------------------------------------------------------------------------------------------------

resource "azurerm_container_group" "worker" {
  #checkov:skip=CKV_AZURE_235:environment_variables name secrets, and have none
  count               = local.service ? 1 : 0
  name                = "${lower(local.base)}-worker"
  resource_group_name = var.location.resource_group
  location            = var.location.region
  tags                = var.labels

  os_type         = "Linux"
  restart_policy  = "Always"
  ip_address_type = var.network == null ? "None" : "Private"
  subnet_ids      = var.network == null ? null : [local.subnet]

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.worker[0].id]
  }

  container {
    name     = "worker"
    image    = var.cloud.worker_image
    cpu      = 0.5
    memory   = 1
    commands = ["/opt/prefect/entrypoint.sh", "python", "-c", local.start]

    environment_variables = {
      AZURE_CLIENT_ID        = azurerm_user_assigned_identity.worker[0].client_id
      EXTRA_PIP_PACKAGES     = "prefect-azure"
      GLACIER_WORK_POOL      = var.name
      GLACIER_WORKER_SECRETS = jsonencode({ for variable, name in local.secrets : variable => "${local.vault_url}/secrets/${name}?api-version=7.4" })
      PREFECT_API_URL        = var.server.api_url
    }

    # Azure wants a port where a container group has a private address; nothing listens there.
    dynamic "ports" {
      for_each = var.network == null ? [] : [8080]
      content {
        port     = ports.value
        protocol = "TCP"
      }
    }
  }

  dynamic "image_registry_credential" {
    for_each = can(regex("^[a-z0-9]+\\.azurecr\\.io/", var.cloud.worker_image)) ? [split("/", var.cloud.worker_image)[0]] : []
    content {
      server                    = image_registry_credential.value
      user_assigned_identity_id = azurerm_user_assigned_identity.worker[0].id
    }
  }

  lifecycle {
    precondition {
      condition     = var.type == "azure-container-instance"
      error_message = "A worker is run for a pool of type azure-container-instance only; leave worker out (\"none\")."
    }
    precondition {
      condition     = var.server.api_url != null
      error_message = "A worker needs server.api_url, the address of Prefect's API."
    }
    precondition {
      condition     = length(local.secrets) == 0 || var.cloud.key_vault != null
      error_message = "server names a secret; cloud.key_vault is to say which Key Vault (its resource id) has it."
    }
  }

  depends_on = [azurerm_role_assignment.start, azurerm_role_assignment.identity, azurerm_role_assignment.join, azurerm_role_assignment.secret]
}

resource "azurerm_log_analytics_workspace" "worker" {
  count               = local.service && var.cloud.log_workspace == null ? 1 : 0
  name                = "${local.base}-logs"
  resource_group_name = var.location.resource_group
  location            = var.location.region
  tags                = var.labels

  sku                          = "PerGB2018"
  retention_in_days            = var.hardened ? 365 : 30
  local_authentication_enabled = false
}

# Not by the container group's own diagnostics, which want a key of the workspace.
resource "azurerm_monitor_diagnostic_setting" "worker" {
  count                      = local.service ? 1 : 0
  name                       = "worker"
  target_resource_id         = azurerm_container_group.worker[0].id
  log_analytics_workspace_id = coalesce(var.cloud.log_workspace, one(azurerm_log_analytics_workspace.worker[*].id))

  enabled_log {
    category_group = "allLogs"
  }
}
