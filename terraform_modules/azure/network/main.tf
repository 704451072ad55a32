data "azurerm_client_config" "current" {}

locals {
  # Built from names, so that it is known in the plan.
  group_id = "/subscriptions/${data.azurerm_client_config.current.subscription_id}/resourceGroups/${var.location.resource_group}"
  makes    = var.existing == null
  id       = local.makes ? "${local.group_id}/providers/Microsoft.Network/virtualNetworks/${var.name}" : var.existing.id
  subnets  = local.makes ? ["${local.id}/subnets/runs"] : var.existing.subnets
}

resource "azurerm_virtual_network" "network" {
  count               = local.makes ? 1 : 0
  name                = var.name
  resource_group_name = var.location.resource_group
  location            = var.location.region
  tags                = var.labels
  address_space       = [var.cidr]
}

# Container groups only: Azure wants a subnet of their own.
resource "azurerm_subnet" "runs" {
  count                           = local.makes ? 1 : 0
  name                            = "runs"
  resource_group_name             = var.location.resource_group
  virtual_network_name            = azurerm_virtual_network.network[0].name
  address_prefixes                = [cidrsubnet(var.cidr, 1, 0)]
  default_outbound_access_enabled = false

  delegation {
    name = "container-groups"
    service_delegation {
      name    = "Microsoft.ContainerInstance/containerGroups"
      actions = ["Microsoft.Network/virtualNetworks/subnets/action"]
    }
  }
}

resource "azurerm_subnet" "endpoints" {
  count                             = local.makes ? 1 : 0
  name                              = "endpoints"
  resource_group_name               = var.location.resource_group
  virtual_network_name              = azurerm_virtual_network.network[0].name
  address_prefixes                  = [cidrsubnet(var.cidr, 2, 2)]
  default_outbound_access_enabled   = false
  private_endpoint_network_policies = "NetworkSecurityGroupEnabled"
}

# -- what may pass --------------------------------------------------------------------------------------------------

resource "azurerm_network_security_group" "runs" {
  count               = local.makes ? 1 : 0
  name                = "${var.name}-runs"
  resource_group_name = var.location.resource_group
  location            = var.location.region
  tags                = var.labels
}

resource "azurerm_network_security_rule" "nothing_in" {
  count                       = local.makes ? 1 : 0
  name                        = "nothing-in"
  description                 = "Nothing listens in a run."
  resource_group_name         = var.location.resource_group
  network_security_group_name = azurerm_network_security_group.runs[0].name
  priority                    = 4096
  direction                   = "Inbound"
  access                      = "Deny"
  protocol                    = "*" # all of them are denied
  source_address_prefix       = "*"
  source_port_range           = "*"
  destination_address_prefix  = "*"
  destination_port_range      = "*"
}

resource "azurerm_network_security_rule" "internet" {
  count                       = local.makes ? 1 : 0
  name                        = "internet"
  description                 = "Runs reach the internet by HTTPS if public, else not at all."
  resource_group_name         = var.location.resource_group
  network_security_group_name = azurerm_network_security_group.runs[0].name
  priority                    = 4000
  direction                   = "Outbound"
  access                      = var.public ? "Allow" : "Deny"
  protocol                    = var.public ? "Tcp" : "*" # all of them are denied
  source_address_prefix       = "*"
  source_port_range           = "*"
  destination_address_prefix  = "Internet"
  destination_port_range      = var.public ? "443" : "*"
}

resource "azurerm_network_security_rule" "nothing_else_out" {
  count                       = local.makes && var.public ? 1 : 0
  name                        = "nothing-else-out"
  description                 = "Runs reach the internet by HTTPS only."
  resource_group_name         = var.location.resource_group
  network_security_group_name = azurerm_network_security_group.runs[0].name
  priority                    = 4096
  direction                   = "Outbound"
  access                      = "Deny"
  protocol                    = "*" # all of them are denied
  source_address_prefix       = "*"
  source_port_range           = "*"
  destination_address_prefix  = "Internet"
  destination_port_range      = "*"
}

# Ahead of Azure's own rules, by which all of the network may come in.
resource "azurerm_network_security_group" "endpoints" {
  count               = local.makes ? 1 : 0
  name                = "${var.name}-endpoints"
  resource_group_name = var.location.resource_group
  location            = var.location.region
  tags                = var.labels
}

resource "azurerm_network_security_rule" "runs_only" {
  for_each                    = local.makes ? { allow = { priority = 100, access = "Allow" }, deny = { priority = 4096, access = "Deny" } } : {}
  name                        = "runs-${each.key}"
  description                 = "Endpoints answer to runs, by HTTPS."
  resource_group_name         = var.location.resource_group
  network_security_group_name = azurerm_network_security_group.endpoints[0].name
  priority                    = each.value.priority
  direction                   = "Inbound"
  access                      = each.value.access
  protocol                    = each.value.access == "Allow" ? "Tcp" : "*" # all others are denied
  source_address_prefix       = each.value.access == "Allow" ? cidrsubnet(var.cidr, 1, 0) : "*"
  source_port_range           = "*"
  destination_address_prefix  = "*"
  destination_port_range      = each.value.access == "Allow" ? "443" : "*"
}

resource "azurerm_subnet_network_security_group_association" "runs" {
  count                     = local.makes ? 1 : 0
  subnet_id                 = azurerm_subnet.runs[0].id
  network_security_group_id = azurerm_network_security_group.runs[0].id
  depends_on                = [azurerm_network_security_rule.nothing_in, azurerm_network_security_rule.internet, azurerm_network_security_rule.nothing_else_out]
}

resource "azurerm_subnet_network_security_group_association" "endpoints" {
  count                     = local.makes ? 1 : 0
  subnet_id                 = azurerm_subnet.endpoints[0].id
  network_security_group_id = azurerm_network_security_group.endpoints[0].id
  depends_on                = [azurerm_network_security_rule.runs_only]
}

# -- the way out, if asked for --------------------------------------------------------------------------------------

resource "azurerm_public_ip" "out" {
  count               = local.makes && var.public ? 1 : 0
  name                = "${var.name}-out"
  resource_group_name = var.location.resource_group
  location            = var.location.region
  tags                = var.labels
  allocation_method   = "Static"
  sku                 = "Standard"
}

resource "azurerm_nat_gateway" "out" {
  count               = local.makes && var.public ? 1 : 0
  name                = "${var.name}-out"
  resource_group_name = var.location.resource_group
  location            = var.location.region
  tags                = var.labels
  sku_name            = "Standard"
}

resource "azurerm_nat_gateway_public_ip_association" "out" {
  count                = local.makes && var.public ? 1 : 0
  nat_gateway_id       = azurerm_nat_gateway.out[0].id
  public_ip_address_id = azurerm_public_ip.out[0].id
}

resource "azurerm_subnet_nat_gateway_association" "out" {
  count          = local.makes && var.public ? 1 : 0
  subnet_id      = azurerm_subnet.runs[0].id
  nat_gateway_id = azurerm_nat_gateway.out[0].id
}

# -- logs of what passes --------------------------------------------------------------------------------------------

resource "azurerm_network_watcher_flow_log" "network" {
  count                = local.makes && var.hardened && var.cloud.flow_logs != null ? 1 : 0
  name                 = "${var.name}-flows"
  network_watcher_name = coalesce(var.cloud.flow_logs.watcher, "NetworkWatcher_${var.location.region}")
  resource_group_name  = var.cloud.flow_logs.watcher_resource_group
  location             = var.location.region
  tags                 = var.labels
  target_resource_id   = azurerm_virtual_network.network[0].id
  storage_account_id   = var.cloud.flow_logs.storage_account
  enabled              = true

  retention_policy {
    enabled = true
    days    = 90
  }
}
