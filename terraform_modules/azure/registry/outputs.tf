# Known in the plan already; who uses one still waits for the registry and the rights.

output "name" {
  description = "Name of the registry."
  value       = var.name
  depends_on  = [azurerm_container_registry.registry, azurerm_role_assignment.access]
}

output "url" {
  description = "What an image's name begins with."
  value       = "${lower(var.name)}.azurecr.io"
  depends_on  = [azurerm_container_registry.registry, azurerm_role_assignment.access]
}

output "id" {
  description = "Resource id of the registry."
  value       = local.id
  depends_on  = [azurerm_container_registry.registry, azurerm_role_assignment.access]
}
