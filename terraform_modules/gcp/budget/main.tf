locals {
  labels = {
    for key, value in var.labels : substr(replace(lower(key), "/[^a-z0-9_-]/", "_"), 0, 63) => substr(replace(lower(value), "/[^a-z0-9_-]/", "_"), 0, 63)
  }
  number = var.cloud.project_number == null ? data.google_project.watched[0].number : var.cloud.project_number
}

data "google_project" "watched" {
  count      = var.cloud.project_number == null ? 1 : 0
  project_id = var.location.project
}

resource "google_monitoring_notification_channel" "address" {
  for_each     = var.notify
  project      = var.location.project
  display_name = substr("${var.name}: ${each.key}", 0, 100)
  type         = "email"
  labels       = { email_address = each.value }
  user_labels  = local.labels
}

resource "google_billing_budget" "budget" {
  billing_account = var.location.billing_account
  display_name    = var.name

  budget_filter {
    projects        = ["projects/${local.number}"]
    calendar_period = "MONTH"
  }

  amount {
    specified_amount {
      currency_code = var.cloud.currency
      units         = tostring(var.monthly_limit)
    }
  }

  threshold_rules {
    threshold_percent = 0.5
  }
  threshold_rules {
    threshold_percent = 0.9
  }
  threshold_rules {
    threshold_percent = 1
  }
  threshold_rules {
    threshold_percent = 1
    spend_basis       = "FORECASTED_SPEND"
  }

  dynamic "all_updates_rule" {
    for_each = length(var.notify) > 0 ? [1] : []
    content {
      monitoring_notification_channels = [for who in sort(keys(var.notify)) : google_monitoring_notification_channel.address[who].id]
    }
  }
}
