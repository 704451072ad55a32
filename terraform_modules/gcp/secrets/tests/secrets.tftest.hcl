mock_provider "google" {
  mock_data "google_project" { defaults = { number = "123456789012" } }
}

variables {
  names    = ["DB_PASSWORD", "API_TOKEN"]
  prefix   = "glacier-acme-prod-"
  location = { project = "acme-prod", region = "europe-west1" }
}

run "each_name_is_a_secret" {
  command = plan
  assert {
    condition     = output.names == tomap({ API_TOKEN = "glacier-acme-prod-API_TOKEN", DB_PASSWORD = "glacier-acme-prod-DB_PASSWORD" })
    error_message = "Expected the prefix before each name."
  }
}

run "ids_are_whole" {
  command = plan
  assert {
    condition     = output.ids["DB_PASSWORD"] == "projects/acme-prod/secrets/glacier-acme-prod-DB_PASSWORD"
    error_message = "Expected project and name in the id."
  }
}

run "values_stay_in_the_region" {
  command = plan
  assert {
    condition     = google_secret_manager_secret.secret["DB_PASSWORD"].replication[0].user_managed[0].replicas[0].location == "europe-west1" && length(google_secret_manager_secret.secret["DB_PASSWORD"].replication[0].auto) == 0
    error_message = "Expected one replica, in the region."
  }
}

run "secrets_are_kept_unless_told" {
  command = plan
  assert {
    condition     = google_secret_manager_secret.secret["DB_PASSWORD"].deletion_protection
    error_message = "Expected deletion protection by default."
  }
}

run "secrets_may_be_lost_if_allowed" {
  command = plan
  variables { allow_data_loss = true }
  assert {
    condition     = !google_secret_manager_secret.secret["DB_PASSWORD"].deletion_protection
    error_message = "Expected no deletion protection."
  }
}

run "nobody_reads_a_secret_by_default" {
  command = plan
  assert {
    condition     = length(google_secret_manager_secret_iam_member.reader) == 0
    error_message = "Expected no grants."
  }
}

run "a_reader_reads_the_values_of_its_secrets" {
  command = plan
  variables {
    readers = { daily = { identity = "serviceAccount:daily@acme-prod.iam.gserviceaccount.com", names = ["DB_PASSWORD"] } }
  }
  assert {
    condition     = keys(google_secret_manager_secret_iam_member.reader) == ["daily/DB_PASSWORD"] && google_secret_manager_secret_iam_member.reader["daily/DB_PASSWORD"].secret_id == "glacier-acme-prod-DB_PASSWORD"
    error_message = "Expected one grant, on DB_PASSWORD."
  }
}

run "a_reader_may_do_nothing_else" {
  command = plan
  variables {
    readers = { daily = { identity = "serviceAccount:daily@acme-prod.iam.gserviceaccount.com", names = ["DB_PASSWORD"] } }
  }
  assert {
    condition     = google_secret_manager_secret_iam_member.reader["daily/DB_PASSWORD"].role == "roles/secretmanager.secretAccessor" && google_secret_manager_secret_iam_member.reader["daily/DB_PASSWORD"].member == "serviceAccount:daily@acme-prod.iam.gserviceaccount.com"
    error_message = "Expected the role that reads values only."
  }
}

run "labels_are_as_google_takes_them" {
  command = plan
  variables {
    labels = { glacier-project = "Acme Shop" }
  }
  assert {
    condition     = google_secret_manager_secret.secret["DB_PASSWORD"].labels == tomap({ glacier-project = "acme_shop" })
    error_message = "Expected small letters, and _ for what Google does not take."
  }
}

run "a_key_that_costs_money_is_not_made" {
  command = plan
  assert {
    condition     = length(google_kms_crypto_key.own) == 0
    error_message = "Expected no key."
  }
}

run "hardened_has_a_key_that_the_store_may_use" {
  command = plan
  variables { hardened = true }
  assert {
    condition     = google_kms_crypto_key_iam_member.secrets[0].member == "serviceAccount:service-123456789012@gcp-sa-secretmanager.iam.gserviceaccount.com" && length(google_secret_manager_secret.secret["DB_PASSWORD"].replication[0].user_managed[0].replicas[0].customer_managed_encryption) == 1
    error_message = "Expected a key, given to Secret Manager's agent."
  }
}

run "a_key_of_your_own_is_used" {
  command = plan
  variables {
    cloud = { kms_key = "projects/keys/locations/europe-west1/keyRings/r/cryptoKeys/k" }
  }
  assert {
    condition     = google_secret_manager_secret.secret["DB_PASSWORD"].replication[0].user_managed[0].replicas[0].customer_managed_encryption[0].kms_key_name == "projects/keys/locations/europe-west1/keyRings/r/cryptoKeys/k"
    error_message = "Expected the key given."
  }
}

run "a_name_that_google_refuses_is_refused" {
  command = plan
  variables { names = ["db.password"] }
  expect_failures = [var.names]
}

run "a_prefix_that_google_refuses_is_refused" {
  command = plan
  variables { prefix = "acme/" }
  expect_failures = [var.prefix]
}

run "a_reader_of_an_unknown_secret_is_refused" {
  command = plan
  variables {
    readers = { daily = { identity = "serviceAccount:daily@acme-prod.iam.gserviceaccount.com", names = ["OTHER"] } }
  }
  expect_failures = [google_secret_manager_secret_iam_member.reader]
}
