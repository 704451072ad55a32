# Known in the plan already; who uses one still waits for the container and what makes it usable.

output "name" {
  description = "Name of the bucket."
  value       = var.name
  depends_on  = [azurerm_storage_container.bucket, azurerm_role_assignment.access, azurerm_storage_management_policy.lifecycle]
}

output "uri" {
  description = "Address of the bucket, as Glacier's sources and sinks spell it."
  value       = "abfss://${var.name}@${local.account}.dfs.core.windows.net"
  depends_on  = [azurerm_storage_container.bucket, azurerm_role_assignment.access, azurerm_storage_management_policy.lifecycle]
}

output "id" {
  description = "Resource id of the container."
  value       = local.id
  depends_on  = [azurerm_storage_container.bucket, azurerm_role_assignment.access, azurerm_storage_management_policy.lifecycle]
}
