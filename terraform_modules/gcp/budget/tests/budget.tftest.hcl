mock_provider "google" {
  mock_data "google_project" { defaults = { number = "123456789012" } }
}

variables {
  name          = "glacier-acme-prod"
  location      = { project = "acme-prod", billing_account = "012345-6789AB-CDEF01" }
  monthly_limit = 200
}

run "the_limit_is_the_amount_of_the_budget" {
  command = plan
  assert {
    condition     = google_billing_budget.budget.amount[0].specified_amount[0].units == "200" && google_billing_budget.budget.budget_filter[0].calendar_period == "MONTH"
    error_message = "Expected 200 for a month."
  }
}

run "one_project_is_watched" {
  command = plan
  assert {
    condition     = google_billing_budget.budget.budget_filter[0].projects == toset(["projects/123456789012"])
    error_message = "Expected the project by its number."
  }
}

run "people_are_told_before_it_is_reached_and_if_it_will_be" {
  command = plan
  assert {
    condition     = [for rule in google_billing_budget.budget.threshold_rules : "${rule.threshold_percent}${rule.spend_basis == "FORECASTED_SPEND" ? " forecast" : ""}"] == ["0.5", "0.9", "1", "1 forecast"]
    error_message = "Expected half, nine tenths, all, and a forecast of all."
  }
}

run "without_addresses_those_who_pay_are_told" {
  command = plan
  assert {
    condition     = length(google_billing_budget.budget.all_updates_rule) == 0 && length(google_monitoring_notification_channel.address) == 0
    error_message = "Expected Google's own recipients only."
  }
}

run "addresses_are_told" {
  command = plan
  variables {
    notify = { data = "data@example.com" }
    labels = { glacier-project = "Acme Shop" }
  }
  assert {
    condition     = google_monitoring_notification_channel.address["data"].labels.email_address == "data@example.com" && google_monitoring_notification_channel.address["data"].user_labels == tomap({ glacier-project = "acme_shop" }) && length(google_billing_budget.budget.all_updates_rule) == 1
    error_message = "Expected an e-mail to data@example.com."
  }
}

run "a_billing_account_of_another_form_is_refused" {
  command = plan
  variables {
    location = { project = "acme-prod", billing_account = "acme" }
  }
  expect_failures = [var.location]
}

run "a_limit_of_nothing_is_refused" {
  command = plan
  variables { monthly_limit = 0 }
  expect_failures = [var.monthly_limit]
}

run "what_is_no_address_is_refused" {
  command = plan
  variables {
    notify = { data = "data" }
  }
  expect_failures = [var.notify]
}

run "more_addresses_than_google_tells_are_refused" {
  command = plan
  variables {
    notify = { a = "a@example.com", b = "b@example.com", c = "c@example.com", d = "d@example.com", e = "e@example.com", f = "f@example.com" }
  }
  expect_failures = [var.notify]
}
