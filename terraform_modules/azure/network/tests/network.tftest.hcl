mock_provider "azurerm" {
  mock_data "azurerm_client_config" {
    defaults = { subscription_id = "00000000-0000-0000-0000-000000000001" }
  }
}

variables {
  name     = "shop"
  location = { region = "westeurope", resource_group = "shop" }
}

run "ids_are_known_in_the_plan" {
  command = plan
  assert {
    condition = jsonencode([output.id, output.subnets, output.security_groups]) == jsonencode([
      "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/providers/Microsoft.Network/virtualNetworks/shop",
      ["/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/providers/Microsoft.Network/virtualNetworks/shop/subnets/runs"],
      ["/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/providers/Microsoft.Network/networkSecurityGroups/shop-runs"],
    ])
    error_message = "Expected ids that are built from the names."
  }
}

run "runs_have_a_subnet_of_their_own" {
  command = plan
  assert {
    condition     = azurerm_subnet.runs[0].delegation[0].service_delegation[0].name == "Microsoft.ContainerInstance/containerGroups" && azurerm_subnet.runs[0].address_prefixes == tolist(["10.42.0.0/23"])
    error_message = "Expected a subnet that is delegated to container groups."
  }
}

run "endpoints_have_another" {
  command = plan
  assert {
    condition     = azurerm_subnet.endpoints[0].address_prefixes == tolist(["10.42.2.0/24"]) && length(azurerm_subnet.endpoints[0].delegation) == 0
    error_message = "Expected a subnet that is not delegated."
  }
}

run "nothing_comes_in" {
  command = plan
  assert {
    condition     = azurerm_network_security_rule.nothing_in[0].access == "Deny" && azurerm_network_security_rule.nothing_in[0].source_address_prefix == "*" && azurerm_network_security_rule.nothing_in[0].direction == "Inbound"
    error_message = "Expected that all that comes in is denied."
  }
}

run "nothing_goes_out_unasked" {
  command = plan
  assert {
    condition     = azurerm_network_security_rule.internet[0].access == "Deny" && length(azurerm_nat_gateway.out) + length(azurerm_public_ip.out) == 0
    error_message = "Expected no way to the internet, and no public address."
  }
}

run "azures_own_way_out_is_closed" {
  command = plan
  assert {
    condition     = !azurerm_subnet.runs[0].default_outbound_access_enabled && !azurerm_subnet.endpoints[0].default_outbound_access_enabled
    error_message = "Expected no default outbound access."
  }
}

run "a_public_network_reaches_the_internet_by_https_only" {
  command = plan
  variables {
    public = true
  }
  assert {
    condition     = azurerm_network_security_rule.internet[0].access == "Allow" && azurerm_network_security_rule.internet[0].destination_port_range == "443" && azurerm_network_security_rule.nothing_else_out[0].access == "Deny"
    error_message = "Expected HTTPS and nothing else."
  }
}

run "a_public_network_has_one_address_for_what_goes_out" {
  command = plan
  variables {
    public = true
  }
  assert {
    condition     = length(azurerm_public_ip.out) == 1 && length(azurerm_subnet_nat_gateway_association.out) == 1
    error_message = "Expected a gateway for the subnet of runs."
  }
}

run "a_public_network_lets_nothing_in_either" {
  command = plan
  variables {
    public = true
  }
  assert {
    condition     = azurerm_network_security_rule.nothing_in[0].access == "Deny"
    error_message = "Expected that all that comes in is denied."
  }
}

run "endpoints_answer_to_runs_only" {
  command = plan
  assert {
    condition     = azurerm_network_security_rule.runs_only["allow"].source_address_prefix == "10.42.0.0/23" && azurerm_network_security_rule.runs_only["allow"].destination_port_range == "443" && azurerm_network_security_rule.runs_only["deny"].access == "Deny"
    error_message = "Expected HTTPS from the subnet of runs and nothing else."
  }
}

run "no_endpoint_unasked" {
  command = plan
  assert {
    condition     = length(azurerm_private_endpoint.endpoint) + length(azurerm_private_dns_zone.endpoint) == 0
    error_message = "Expected no endpoint, since it costs money."
  }
}

run "an_account_can_have_a_private_address" {
  command = plan
  variables {
    cloud = { endpoints = { store = { kind = "blob", id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/providers/Microsoft.Storage/storageAccounts/shopprod0a1b2c" } } }
  }
  assert {
    condition     = azurerm_private_endpoint.endpoint["store"].private_service_connection[0].subresource_names == tolist(["blob"]) && azurerm_private_dns_zone.endpoint["blob"].name == "privatelink.blob.core.windows.net"
    error_message = "Expected an endpoint of the account's blobs, and its zone."
  }
}

run "a_zone_is_linked_to_the_network" {
  command = plan
  variables {
    cloud = { endpoints = { secrets = { kind = "vault", id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/providers/Microsoft.KeyVault/vaults/shop" } } }
  }
  assert {
    condition     = jsondecode(azurerm_resource_group_template_deployment.link["vault"].template_content).resources[0].name == "privatelink.vaultcore.azure.net/shop" && jsondecode(azurerm_resource_group_template_deployment.link["vault"].template_content).resources[0].properties.virtualNetwork.id == output.id
    error_message = "Expected a link of the zone."
  }
}

run "zones_that_exist_are_taken" {
  command = plan
  variables {
    cloud = {
      endpoints = { secrets = { kind = "vault", id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/providers/Microsoft.KeyVault/vaults/shop" } }
      dns_zones = { vault = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/hub/providers/Microsoft.Network/privateDnsZones/privatelink.vaultcore.azure.net" }
    }
  }
  assert {
    condition     = length(azurerm_private_dns_zone.endpoint) + length(azurerm_resource_group_template_deployment.link) == 0 && strcontains(azurerm_private_endpoint.endpoint["secrets"].private_dns_zone_group[0].private_dns_zone_ids[0], "/hub/")
    error_message = "Expected the zone given and no other."
  }
}

run "in_a_network_that_exists_nothing_is_made" {
  command = plan
  variables {
    existing = { id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/hub/providers/Microsoft.Network/virtualNetworks/hub", subnets = ["/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/hub/providers/Microsoft.Network/virtualNetworks/hub/subnets/jobs"] }
  }
  assert {
    condition     = length(azurerm_virtual_network.network) + length(azurerm_subnet.runs) + length(azurerm_subnet.endpoints) + length(azurerm_network_security_group.runs) + length(azurerm_network_security_group.endpoints) == 0
    error_message = "Expected no network, subnet or security group."
  }
}

run "a_network_that_exists_is_handed_on" {
  command = plan
  variables {
    existing = { id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/hub/providers/Microsoft.Network/virtualNetworks/hub", subnets = ["/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/hub/providers/Microsoft.Network/virtualNetworks/hub/subnets/jobs"] }
  }
  assert {
    condition     = output.id == var.existing.id && jsonencode(output.subnets) == jsonencode(var.existing.subnets)
    error_message = "Expected the network as given."
  }
}

run "an_endpoint_in_a_network_that_exists_needs_a_subnet" {
  command = plan
  variables {
    existing = { id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/hub/providers/Microsoft.Network/virtualNetworks/hub", subnets = [] }
    cloud    = { endpoints = { secrets = { kind = "vault", id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/providers/Microsoft.KeyVault/vaults/shop" } } }
  }
  expect_failures = [azurerm_private_endpoint.endpoint["secrets"]]
}

run "hardened_logs_what_passes" {
  command = plan
  variables {
    hardened = true
    cloud    = { flow_logs = { storage_account = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/providers/Microsoft.Storage/storageAccounts/shoplogs" } }
  }
  assert {
    condition     = azurerm_network_watcher_flow_log.network[0].network_watcher_name == "NetworkWatcher_westeurope" && azurerm_network_watcher_flow_log.network[0].retention_policy[0].days == 90
    error_message = "Expected flow logs for ninety days."
  }
}

run "a_kind_that_is_not_known_is_refused" {
  command = plan
  variables {
    cloud = { endpoints = { queue = { kind = "queue", id = "/subscriptions/x" } } }
  }
  expect_failures = [var.cloud]
}

run "addresses_that_are_none_are_refused" {
  command = plan
  variables {
    cidr = "10.42.0.0"
  }
  expect_failures = [var.cidr]
}

run "a_network_that_is_too_small_is_refused" {
  command = plan
  variables {
    cidr = "10.42.0.0/28"
  }
  expect_failures = [var.cidr]
}

run "a_name_that_azure_refuses_is_refused" {
  command = plan
  variables {
    name = "-shop"
  }
  expect_failures = [var.name]
}

run "an_existing_network_by_name_only_is_refused" {
  command = plan
  variables {
    existing = { id = "hub", subnets = [] }
  }
  expect_failures = [var.existing]
}
