mock_provider "aws" {}

variables {
  name          = "glacier-acme-prod"
  monthly_limit = 100
}

run "a_limit_is_all_that_is_needed" {
  command = plan
  assert {
    condition     = aws_budgets_budget.budget.limit_amount == "100" && aws_budgets_budget.budget.time_unit == "MONTHLY" && output.name == "glacier-acme-prod"
    error_message = "Expected 100 USD a month."
  }
}

run "nobody_is_told_unless_named" {
  command = plan
  assert {
    condition     = length(aws_budgets_budget.budget.notification) == 0
    error_message = "Expected no notification."
  }
}

run "who_is_named_is_told_before_and_after" {
  command = plan
  variables {
    notify = { me = "me@example.com" }
  }
  assert {
    condition     = toset([for each in aws_budgets_budget.budget.notification : "${each.notification_type} ${each.threshold}"]) == toset(["ACTUAL 80", "ACTUAL 100", "FORECASTED 100"])
    error_message = "Expected 80 and 100 percent, and the forecast."
  }
}

run "the_projects_costs_count" {
  command = plan
  variables {
    labels = { glacier-project = "acme", glacier-env = "prod" }
  }
  assert {
    condition     = [for each in aws_budgets_budget.budget.cost_filter : [each.name, each.values[0]]] == [["TagKeyValue", "user:glacier-project$acme"]]
    error_message = "Expected what has the project's tag."
  }
}

run "all_costs_of_the_account_count_if_asked_for" {
  command = plan
  variables {
    labels = { glacier-project = "acme" }
    cloud  = { whole_account = true }
  }
  assert {
    condition     = length(aws_budgets_budget.budget.cost_filter) == 0
    error_message = "Expected no filter."
  }
}

run "nothing_is_refused" {
  command = plan
  variables {
    monthly_limit = 0
  }
  expect_failures = [var.monthly_limit]
}

run "what_is_no_address_is_refused" {
  command = plan
  variables {
    notify = { me = "me" }
  }
  expect_failures = [var.notify]
}
