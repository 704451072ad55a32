mock_provider "azurerm" {
  mock_data "azurerm_client_config" {
    defaults = { subscription_id = "00000000-0000-0000-0000-000000000001" }
  }
}

variables {
  name          = "glacier-shop-prod"
  location      = { resource_group = "shop" }
  monthly_limit = 200
  notify        = { team = "team@example.com" }
}

run "the_resource_group_is_counted_by_month" {
  command = plan
  assert {
    condition     = azurerm_consumption_budget_resource_group.budget.resource_group_id == "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop" && azurerm_consumption_budget_resource_group.budget.time_grain == "Monthly" && azurerm_consumption_budget_resource_group.budget.amount == 200
    error_message = "Expected the limit for a month of the resource group."
  }
}

run "somebody_is_told_before_and_after" {
  command = plan
  assert {
    condition     = toset([for each in azurerm_consumption_budget_resource_group.budget.notification : "${each.threshold_type} ${each.threshold}"]) == toset(["Actual 80", "Actual 100", "Forecasted 100"])
    error_message = "Expected notices at 80 and 100 percent, and by forecast."
  }
}

run "all_addresses_are_told" {
  command = plan
  assert {
    condition     = alltrue([for each in azurerm_consumption_budget_resource_group.budget.notification : each.contact_emails == tolist(["team@example.com"])])
    error_message = "Expected the addresses in each notice."
  }
}

run "it_begins_with_a_month" {
  command = plan
  assert {
    condition     = can(regex("^[0-9]{4}-[0-9]{2}-01T00:00:00Z$", azurerm_consumption_budget_resource_group.budget.time_period[0].start_date))
    error_message = "Expected the first day of this month."
  }
}

run "all_of_the_resource_group_counts" {
  command = plan
  variables {
    labels = { glacier-env = "prod" }
  }
  assert {
    condition     = length(azurerm_consumption_budget_resource_group.budget.filter) == 0
    error_message = "Expected no filter by default."
  }
}

run "only_what_is_labelled_can_count" {
  command = plan
  variables {
    labels = { glacier-env = "prod" }
    cloud  = { only_labelled = true }
  }
  assert {
    condition     = one(azurerm_consumption_budget_resource_group.budget.filter[0].tag).name == "glacier-env"
    error_message = "Expected the labels as a filter."
  }
}

run "telling_nobody_is_refused" {
  command = plan
  variables {
    notify = {}
  }
  expect_failures = [var.notify]
}

run "an_address_that_is_none_is_refused" {
  command = plan
  variables {
    notify = { team = "team" }
  }
  expect_failures = [var.notify]
}

run "a_limit_of_nothing_is_refused" {
  command = plan
  variables {
    monthly_limit = 0
  }
  expect_failures = [var.monthly_limit]
}

run "a_name_that_azure_refuses_is_refused" {
  command = plan
  variables {
    name = "shop budget"
  }
  expect_failures = [var.name]
}
