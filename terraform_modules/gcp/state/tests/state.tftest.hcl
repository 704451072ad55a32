mock_provider "google" {}

variables {
  name     = "acme-prod-state"
  location = { project = "acme-prod", region = "europe-west1" }
}

run "a_name_and_a_place_are_all_that_is_needed" {
  command = plan
  assert {
    condition     = output.name == "acme-prod-state" && output.id == "acme-prod-state" && output.backend.bucket == "acme-prod-state"
    error_message = "Expected the bucket as name, id and in the settings of the backend."
  }
}

run "nothing_in_it_can_be_made_public" {
  command = plan
  assert {
    condition     = google_storage_bucket.state.public_access_prevention == "enforced" && google_storage_bucket.state.uniform_bucket_level_access
    error_message = "Expected public access to be prevented, and access by IAM only."
  }
}

run "states_are_versioned" {
  command = plan
  assert {
    condition     = google_storage_bucket.state.versioning[0].enabled
    error_message = "Expected versioning."
  }
}

run "the_newest_versions_stay" {
  command = plan
  assert {
    condition     = one(google_storage_bucket.state.lifecycle_rule[0].condition).num_newer_versions == 30 && one(google_storage_bucket.state.lifecycle_rule[0].condition).days_since_noncurrent_time == 90
    error_message = "Expected versions to be deleted only if they are older than 90 days and than 30 others."
  }
}

run "a_deleted_state_can_be_restored" {
  command = plan
  assert {
    condition     = google_storage_bucket.state.soft_delete_policy[0].retention_duration_seconds == 604800
    error_message = "Expected soft delete for 7 days."
  }
}

run "states_are_kept_unless_told" {
  command = plan
  assert {
    condition     = !google_storage_bucket.state.force_destroy
    error_message = "Expected that a bucket with states cannot be destroyed by default."
  }
}

run "states_may_be_lost_if_allowed" {
  command = plan
  variables { allow_data_loss = true }
  assert {
    condition     = google_storage_bucket.state.force_destroy
    error_message = "Expected force_destroy."
  }
}

run "labels_are_as_google_takes_them" {
  command = plan
  variables {
    labels = { glacier-project = "Acme Shop" }
  }
  assert {
    condition     = google_storage_bucket.state.labels == tomap({ glacier-project = "acme_shop" })
    error_message = "Expected small letters, and _ for what Google does not take."
  }
}

run "what_costs_money_is_off" {
  command = plan
  assert {
    condition     = length(google_kms_crypto_key.own) + length(google_storage_bucket.logs) == 0
    error_message = "Expected no key and no access logs."
  }
}

run "hardened_has_a_key_that_is_replaced" {
  command = plan
  variables { hardened = true }
  assert {
    condition     = length(google_storage_bucket.state.encryption) == 1 && google_kms_crypto_key.own[0].rotation_period == "7776000s"
    error_message = "Expected a key, replaced every 90 days."
  }
}

run "hardened_logs_access" {
  command = plan
  variables { hardened = true }
  assert {
    condition     = google_storage_bucket.state.logging[0].log_bucket == "acme-prod-state-logs" && google_storage_bucket.logs[0].public_access_prevention == "enforced"
    error_message = "Expected access logs in a private bucket acme-prod-state-logs."
  }
}

run "a_name_that_google_refuses_is_refused" {
  command = plan
  variables { name = "Acme.state" }
  expect_failures = [var.name]
}

run "the_name_of_google_is_refused" {
  command = plan
  variables { name = "goog-state" }
  expect_failures = [var.name]
}

run "a_name_too_long_for_its_logs_is_refused" {
  command = plan
  variables {
    name     = "a23456789-123456789-123456789-123456789-123456789-123456789"
    hardened = true
  }
  expect_failures = [google_storage_bucket.state]
}
