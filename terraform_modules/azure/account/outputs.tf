# Known in the plan already; who uses one still waits for the account and its rules.

output "name" {
  description = "Name of the storage account."
  value       = var.name
  depends_on  = [azurerm_storage_account.account, azurerm_storage_management_policy.lifecycle, terraform_data.guard]
}

output "id" {
  description = "Resource id of the storage account, as the module bucket takes it in location.account."
  value       = local.id
  depends_on  = [azurerm_storage_account.account, azurerm_storage_management_policy.lifecycle, terraform_data.guard]
}
