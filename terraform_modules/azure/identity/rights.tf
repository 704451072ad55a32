# What may be made, by kind of module: what reading takes for a plan, what writing takes for a deployment.

locals {
  logs = {
    # The provider asks for a workspace's keys, which are off.
    read  = ["Microsoft.Insights/diagnosticSettings/read", "Microsoft.OperationalInsights/workspaces/read", "Microsoft.OperationalInsights/workspaces/sharedKeys/action"]
    write = ["Microsoft.Insights/diagnosticSettings/delete", "Microsoft.Insights/diagnosticSettings/write", "Microsoft.OperationalInsights/workspaces/delete", "Microsoft.OperationalInsights/workspaces/write"]
  }

  every_kind = [
    "Microsoft.Authorization/roleAssignments/read",
    "Microsoft.Authorization/roleDefinitions/read",
    "Microsoft.Resources/subscriptions/resourceGroups/read",
  ]

  rights = {
    bucket = {
      read = concat(local.logs.read, [
        "Microsoft.Storage/storageAccounts/blobServices/containers/read",
        "Microsoft.Storage/storageAccounts/blobServices/read",
        "Microsoft.Storage/storageAccounts/fileServices/read", # of which the provider asks too
        "Microsoft.Storage/storageAccounts/managementPolicies/read",
        "Microsoft.Storage/storageAccounts/objectReplicationPolicies/read",
        "Microsoft.Storage/storageAccounts/read",
      ])
      # not listKeys: accounts have no keys
      write = concat(local.logs.write, [
        "Microsoft.Storage/storageAccounts/blobServices/containers/delete",
        "Microsoft.Storage/storageAccounts/blobServices/containers/write",
        "Microsoft.Storage/storageAccounts/blobServices/write",
        "Microsoft.Storage/storageAccounts/delete",
        "Microsoft.Storage/storageAccounts/managementPolicies/delete",
        "Microsoft.Storage/storageAccounts/managementPolicies/write",
        "Microsoft.Storage/storageAccounts/objectReplicationPolicies/delete",
        "Microsoft.Storage/storageAccounts/objectReplicationPolicies/write",
        "Microsoft.Storage/storageAccounts/write",
      ])
    }
    budget = {
      read  = ["Microsoft.Consumption/budgets/read"]
      write = ["Microsoft.Consumption/budgets/delete", "Microsoft.Consumption/budgets/write"]
    }
    network = {
      read = [
        "Microsoft.Network/natGateways/read",
        "Microsoft.Network/networkSecurityGroups/read",
        "Microsoft.Network/networkSecurityGroups/securityRules/read",
        "Microsoft.Network/privateDnsZones/SOA/read",
        "Microsoft.Network/privateDnsZones/read",
        "Microsoft.Network/privateDnsZones/virtualNetworkLinks/read",
        "Microsoft.Network/privateEndpoints/privateDnsZoneGroups/read",
        "Microsoft.Network/privateEndpoints/read",
        "Microsoft.Network/publicIPAddresses/read",
        "Microsoft.Network/virtualNetworks/read",
        "Microsoft.Network/virtualNetworks/subnets/read",
        "Microsoft.Resources/deployments/operationstatuses/read",
        "Microsoft.Resources/deployments/read",
      ]
      write = [
        "Microsoft.ContainerRegistry/registries/privateEndpointConnectionsApproval/action",
        "Microsoft.KeyVault/vaults/privateEndpointConnectionsApproval/action",
        "Microsoft.Network/natGateways/delete",
        "Microsoft.Network/natGateways/join/action",
        "Microsoft.Network/natGateways/write",
        "Microsoft.Network/networkSecurityGroups/delete",
        "Microsoft.Network/networkSecurityGroups/join/action",
        "Microsoft.Network/networkSecurityGroups/securityRules/delete",
        "Microsoft.Network/networkSecurityGroups/securityRules/write",
        "Microsoft.Network/networkSecurityGroups/write",
        "Microsoft.Network/privateDnsZones/delete",
        "Microsoft.Network/privateDnsZones/join/action",
        "Microsoft.Network/privateDnsZones/virtualNetworkLinks/delete",
        "Microsoft.Network/privateDnsZones/virtualNetworkLinks/write",
        "Microsoft.Network/privateDnsZones/write",
        "Microsoft.Network/privateEndpoints/delete",
        "Microsoft.Network/privateEndpoints/privateDnsZoneGroups/delete",
        "Microsoft.Network/privateEndpoints/privateDnsZoneGroups/write",
        "Microsoft.Network/privateEndpoints/write",
        "Microsoft.Network/publicIPAddresses/delete",
        "Microsoft.Network/publicIPAddresses/join/action",
        "Microsoft.Network/publicIPAddresses/write",
        "Microsoft.Network/virtualNetworks/delete",
        "Microsoft.Network/virtualNetworks/join/action",
        "Microsoft.Network/virtualNetworks/subnets/delete",
        "Microsoft.Network/virtualNetworks/subnets/join/action",
        "Microsoft.Network/virtualNetworks/subnets/write",
        "Microsoft.Network/virtualNetworks/write",
        "Microsoft.Resources/deployments/delete",
        "Microsoft.Resources/deployments/exportTemplate/action",
        "Microsoft.Resources/deployments/operations/read",
        "Microsoft.Resources/deployments/validate/action",
        "Microsoft.Resources/deployments/write",
        "Microsoft.Storage/storageAccounts/privateEndpointConnectionsApproval/action",
      ]
    }
    registry = {
      read  = ["Microsoft.ContainerRegistry/registries/operationStatuses/read", "Microsoft.ContainerRegistry/registries/read", "Microsoft.ContainerRegistry/registries/tasks/read"]
      write = ["Microsoft.ContainerRegistry/registries/delete", "Microsoft.ContainerRegistry/registries/tasks/delete", "Microsoft.ContainerRegistry/registries/tasks/listDetails/action", "Microsoft.ContainerRegistry/registries/tasks/write", "Microsoft.ContainerRegistry/registries/write"]
    }
    secrets = {
      read  = concat(local.logs.read, ["Microsoft.KeyVault/vaults/read"])
      write = concat(local.logs.write, ["Microsoft.KeyVault/locations/operationResults/read", "Microsoft.KeyVault/vaults/delete", "Microsoft.KeyVault/vaults/write"])
    }
    spark = {
      read = ["Microsoft.Databricks/accessConnectors/read", "Microsoft.Databricks/workspaces/read", "Microsoft.ManagedIdentity/userAssignedIdentities/read"]
      write = [
        "Microsoft.Databricks/accessConnectors/delete",
        "Microsoft.Databricks/accessConnectors/write",
        "Microsoft.Databricks/locations/operationstatuses/read",
        "Microsoft.Databricks/workspaces/delete",
        "Microsoft.Databricks/workspaces/write",
        "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action",
        "Microsoft.ManagedIdentity/userAssignedIdentities/delete",
        "Microsoft.ManagedIdentity/userAssignedIdentities/write",
        "Microsoft.Network/virtualNetworks/subnets/join/action",
      ]
    }
    work_pool = {
      read = concat(local.logs.read, ["Microsoft.ContainerInstance/containerGroups/read", "Microsoft.ManagedIdentity/userAssignedIdentities/read"])
      # not federatedIdentityCredentials: nobody but who runs the bootstrap says whom an identity trusts
      write = concat(local.logs.write, [
        "Microsoft.ContainerInstance/containerGroups/delete",
        "Microsoft.ContainerInstance/containerGroups/restart/action",
        "Microsoft.ContainerInstance/containerGroups/write",
        "Microsoft.ContainerInstance/locations/operations/read",
        "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action",
        "Microsoft.ManagedIdentity/userAssignedIdentities/delete",
        "Microsoft.ManagedIdentity/userAssignedIdentities/write",
        "Microsoft.Network/virtualNetworks/subnets/join/action",
      ])
    }
  }

  # The roles that a deployment may give, by kind, and to nobody but identities.
  grantable = {
    bucket    = [local.shared_ids.read, local.shared_ids.write]
    registry  = ["7f951dda-4ed3-4680-a7ca-43fe172d538d", "8311e382-0749-4cb8-b61a-304f252e45ec"] # AcrPull, AcrPush
    secrets   = ["4633458b-17de-408a-b874-0445c86b69e6"]                                         # Key Vault Secrets User
    spark     = [local.shared_ids.submit]
    work_pool = [local.shared_ids.join, local.shared_ids.start, "4633458b-17de-408a-b874-0445c86b69e6", "f1a07417-d97a-45cb-824c-7a7467783830"] # and Managed Identity Operator
  }
  granted = distinct(sort(flatten([for kind in var.kinds : lookup(local.grantable, kind, [])])))

  # What these roles may do. They are made here, since who deploys may write no role.
  blobs = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
  shared = {
    read  = { kind = "bucket", actions = [], data_actions = ["${local.blobs}/read"] }
    write = { kind = "bucket", actions = [], data_actions = ["${local.blobs}/add/action", "${local.blobs}/delete", "${local.blobs}/read", "${local.blobs}/write"] }
    start = { kind = "work_pool", data_actions = [], actions = [
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
    ] }
    join   = { kind = "work_pool", data_actions = [], actions = ["Microsoft.Network/virtualNetworks/subnets/join/action", "Microsoft.Network/virtualNetworks/subnets/read"] }
    submit = { kind = "spark", data_actions = [], actions = ["Microsoft.Databricks/workspaces/read"] }
  }
  shared_ids = { for name in ["read", "write", "start", "join", "submit"] : name => uuidv5("url", "${local.group_id}/glacier/${name}") }
}
