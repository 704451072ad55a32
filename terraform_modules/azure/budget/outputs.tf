output "name" {
  description = "Name of the budget."
  value       = var.name
  depends_on  = [azurerm_consumption_budget_resource_group.budget]
}
