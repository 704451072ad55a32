# Known in the plan already; who uses one still waits for what makes it usable.

output "id" {
  description = "Resource id of the network."
  value       = local.id
  depends_on  = [azurerm_virtual_network.network, azurerm_private_endpoint.endpoint, azurerm_resource_group_template_deployment.link]
}

output "subnets" {
  description = "Ids of the subnets for runs, which are delegated to container groups."
  value       = local.subnets
  depends_on  = [azurerm_subnet_network_security_group_association.runs, azurerm_subnet_nat_gateway_association.out, azurerm_nat_gateway_public_ip_association.out]
}

output "security_groups" {
  description = "Ids of the network security groups of these subnets; in a network that exists none."
  value       = local.makes ? ["${local.group_id}/providers/Microsoft.Network/networkSecurityGroups/${var.name}-runs"] : []
  depends_on  = [azurerm_subnet_network_security_group_association.runs]
}
