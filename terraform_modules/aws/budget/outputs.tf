output "name" {
  description = "Name of the budget."
  value       = var.name
  depends_on  = [aws_budgets_budget.budget]
}
