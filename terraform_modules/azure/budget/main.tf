data "azurerm_client_config" "current" {}

locals {
  notices = {
    actual-80    = { threshold = 80, type = "Actual" }
    actual-100   = { threshold = 100, type = "Actual" }
    forecast-100 = { threshold = 100, type = "Forecasted" }
  }
}

# Warns; Azure stops nothing.
resource "azurerm_consumption_budget_resource_group" "budget" {
  name              = var.name
  resource_group_id = "/subscriptions/${data.azurerm_client_config.current.subscription_id}/resourceGroups/${var.location.resource_group}"
  amount            = var.monthly_limit
  time_grain        = "Monthly"

  # Azure takes no month that is over, so it is the one in which the budget is made; it stays so.
  time_period {
    start_date = formatdate("YYYY-MM-01'T'00:00:00Z", plantimestamp())
  }

  dynamic "filter" {
    for_each = var.cloud.only_labelled && length(var.labels) > 0 ? [var.labels] : []
    content {
      dynamic "tag" {
        for_each = filter.value
        content {
          name   = tag.key
          values = [tag.value]
        }
      }
    }
  }

  dynamic "notification" {
    for_each = local.notices
    content {
      enabled        = true
      operator       = "GreaterThan"
      threshold      = notification.value.threshold
      threshold_type = notification.value.type
      contact_emails = values(var.notify)
    }
  }

  lifecycle {
    ignore_changes = [time_period]
  }
}
