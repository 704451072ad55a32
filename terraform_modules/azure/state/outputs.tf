# Known in the plan already; who uses one still waits for the container.

output "name" {
  description = "Name of the storage account."
  value       = var.name
  depends_on  = [azurerm_storage_container.state]
}

output "id" {
  description = "Resource id of the container, as the module identity takes it in state."
  value       = local.id
  depends_on  = [azurerm_storage_container.state]
}

output "backend" {
  description = "Settings of Terraform's backend azurerm, without key: Entra's tokens, no key of the account. Locking is the backend's own, by a lease."
  value = {
    resource_group_name  = var.location.resource_group
    storage_account_name = var.name
    container_name       = var.cloud.container
    subscription_id      = data.azurerm_client_config.current.subscription_id
    tenant_id            = data.azurerm_client_config.current.tenant_id
    use_azuread_auth     = true
  }
  depends_on = [azurerm_storage_container.state]
}
