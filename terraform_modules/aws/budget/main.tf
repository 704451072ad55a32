locals {
  counted = { for key in ["glacier-project", "glacier-env"] : key => var.labels[key] if contains(keys(var.labels), key) && !var.cloud.whole_account }
  told = {
    "80"       = { type = "ACTUAL", percent = 80 }
    "100"      = { type = "ACTUAL", percent = 100 }
    "forecast" = { type = "FORECASTED", percent = 100 }
  }
}

resource "aws_budgets_budget" "budget" {
  name         = var.name
  budget_type  = "COST"
  time_unit    = "MONTHLY"
  limit_amount = tostring(var.monthly_limit)
  limit_unit   = "USD"
  tags         = var.labels

  # Several tags have to be there all; one filter of values would take either.
  dynamic "filter_expression" {
    for_each = length(local.counted) > 1 ? [local.counted] : []

    content {
      dynamic "and" {
        for_each = filter_expression.value

        content {
          tags {
            key    = and.key
            values = [and.value]
          }
        }
      }
    }
  }

  dynamic "filter_expression" {
    for_each = length(local.counted) == 1 ? [local.counted] : []

    content {
      tags {
        key    = keys(filter_expression.value)[0]
        values = values(filter_expression.value)
      }
    }
  }

  dynamic "notification" {
    for_each = length(var.notify) > 0 ? local.told : {}

    content {
      comparison_operator        = "GREATER_THAN"
      notification_type          = notification.value.type
      threshold                  = notification.value.percent
      threshold_type             = "PERCENTAGE"
      subscriber_email_addresses = values(var.notify)
    }
  }
}
