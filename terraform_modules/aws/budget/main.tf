locals {
  counted = [for project in [lookup(var.labels, "glacier-project", null)] : format("user:glacier-project$%s", project) if project != null && !var.cloud.whole_account]
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

  dynamic "cost_filter" {
    for_each = local.counted

    content {
      name   = "TagKeyValue"
      values = [cost_filter.value]
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
