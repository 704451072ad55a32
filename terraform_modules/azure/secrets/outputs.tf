# Known in the plan already; who uses one still waits for the vault and the rights.

output "names" {
  description = "By name: the name in the store."
  value       = local.names
  depends_on  = [azurerm_key_vault.secrets, azurerm_role_assignment.reader]
}

output "ids" {
  description = "By name: the resource id of the secret."
  value       = local.ids
  depends_on  = [azurerm_key_vault.secrets, azurerm_role_assignment.reader]
}

output "store" {
  description = "The Key Vault: its id, and its address, as AzureProvider takes it in key_vault."
  value       = { id = local.vault_id, url = "https://${local.vault}.vault.azure.net" }
  depends_on  = [azurerm_key_vault.secrets, azurerm_role_assignment.reader]
}
