# Private addresses of what runs need. Service endpoints would cost nothing, but the provider's majors want other arguments
# for them.

locals {
  kinds = {
    blob     = { zone = "privatelink.blob.core.windows.net", subresource = "blob" }
    registry = { zone = "privatelink.azurecr.io", subresource = "registry" }
    vault    = { zone = "privatelink.vaultcore.azure.net", subresource = "vault" }
  }
  endpoints = var.cloud.endpoints
  zones     = { for kind in toset([for each in values(local.endpoints) : each.kind]) : kind => local.kinds[kind].zone if !contains(keys(var.cloud.dns_zones), kind) }
  zone_ids  = merge({ for kind, zone in local.zones : kind => azurerm_private_dns_zone.endpoint[kind].id }, var.cloud.dns_zones)
}

resource "azurerm_private_dns_zone" "endpoint" {
  for_each            = local.zones
  name                = each.value
  resource_group_name = var.location.resource_group
  tags                = var.labels
}

# As azurerm_private_dns_zone_virtual_network_link, whose arguments differ between the provider's majors.
resource "azurerm_resource_group_template_deployment" "link" {
  for_each            = local.zones
  name                = "${var.name}-${each.key}-zone"
  resource_group_name = var.location.resource_group
  deployment_mode     = "Incremental"
  tags                = var.labels
  template_content = jsonencode({
    "$schema"      = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
    contentVersion = "1.0.0.0"
    resources = [{
      type       = "Microsoft.Network/privateDnsZones/virtualNetworkLinks"
      apiVersion = "2020-06-01"
      name       = "${each.value}/${var.name}"
      location   = "global"
      tags       = var.labels
      properties = { registrationEnabled = false, virtualNetwork = { id = local.id } }
    }]
  })
  depends_on = [azurerm_private_dns_zone.endpoint, azurerm_virtual_network.network]
}

resource "azurerm_private_endpoint" "endpoint" {
  for_each            = local.endpoints
  name                = "${var.name}-${each.key}"
  resource_group_name = var.location.resource_group
  location            = var.location.region
  tags                = var.labels
  subnet_id           = local.makes ? azurerm_subnet.endpoints[0].id : var.cloud.endpoint_subnet

  private_service_connection {
    name                           = each.key
    private_connection_resource_id = each.value.id
    subresource_names              = [local.kinds[each.value.kind].subresource]
    is_manual_connection           = false
  }

  private_dns_zone_group {
    name                 = each.value.kind
    private_dns_zone_ids = [local.zone_ids[each.value.kind]]
  }

  lifecycle {
    precondition {
      condition     = local.makes || var.cloud.endpoint_subnet != null
      error_message = "Azure puts no private endpoint into a subnet that is delegated: in a network that exists, cloud.endpoint_subnet is to name another (its id)."
    }
  }
}
