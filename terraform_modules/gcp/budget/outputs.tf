output "name" {
  description = "Name of the budget."
  value       = var.name
  depends_on  = [google_billing_budget.budget]
}
