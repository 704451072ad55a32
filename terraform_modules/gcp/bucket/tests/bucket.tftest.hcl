mock_provider "google" {}

variables {
  name     = "acme-prod-raw"
  location = { project = "acme-prod", region = "europe-west1" }
}

run "a_name_and_a_place_are_all_that_is_needed" {
  command = plan
  assert {
    condition     = output.name == "acme-prod-raw" && output.uri == "gs://acme-prod-raw" && output.id == "acme-prod-raw"
    error_message = "Expected the name, its address gs://acme-prod-raw and the name as the id."
  }
}

run "it_is_where_it_was_asked_for" {
  command = plan
  assert {
    condition     = google_storage_bucket.bucket.location == "EUROPE-WEST1" && google_storage_bucket.bucket.project == "acme-prod"
    error_message = "Expected the region and the project of location."
  }
}

run "nothing_in_it_can_be_made_public" {
  command = plan
  assert {
    condition     = google_storage_bucket.bucket.public_access_prevention == "enforced" && google_storage_bucket.bucket.uniform_bucket_level_access
    error_message = "Expected public access to be prevented, and access by IAM only."
  }
}

run "objects_are_versioned" {
  command = plan
  assert {
    condition     = google_storage_bucket.bucket.versioning[0].enabled
    error_message = "Expected versioning."
  }
}

run "data_is_kept_unless_told" {
  command = plan
  assert {
    condition     = !google_storage_bucket.bucket.force_destroy
    error_message = "Expected that a bucket with objects cannot be destroyed by default."
  }
}

run "data_may_be_lost_if_allowed" {
  command = plan
  variables { allow_data_loss = true }
  assert {
    condition     = google_storage_bucket.bucket.force_destroy
    error_message = "Expected force_destroy."
  }
}

run "the_exchange_expires" {
  command = plan
  assert {
    condition     = one(google_storage_bucket.bucket.lifecycle_rule[0].condition).age == 7 && tolist(one(google_storage_bucket.bucket.lifecycle_rule[0].condition).matches_prefix) == tolist([".glacier/exchange/", ".glacier/cache/"])
    error_message = "Expected exchange and cache to be deleted after 7 days."
  }
}

run "an_exchange_below_a_folder_expires_too" {
  command = plan
  variables {
    writers = { daily = { prefixes = ["shared/.glacier/exchange/daily/"] } }
  }
  assert {
    condition     = contains(one(google_storage_bucket.bucket.lifecycle_rule[0].condition).matches_prefix, "shared/.glacier/exchange/")
    error_message = "Expected the exchange below shared/ to be deleted, too."
  }
}

run "unpublished_writes_expire_wherever_somebody_writes" {
  command = plan
  variables {
    writers = { daily = { prefixes = ["out/", "reports/daily.csv"] } }
  }
  assert {
    condition     = one(google_storage_bucket.bucket.lifecycle_rule[1].condition).age == 2 && toset(one(google_storage_bucket.bucket.lifecycle_rule[1].condition).matches_prefix) == toset([".glacier/writes/", "out/.glacier/writes/", "reports/.glacier/writes/"])
    error_message = "Expected staged writes at the root, below out/ and below reports/ to be deleted after 2 days."
  }
}

run "what_previews_wrote_expires" {
  command = plan
  variables {
    writers = { preview = { prefixes = [".glacier/preview/"] } }
  }
  assert {
    condition     = one([for rule in google_storage_bucket.bucket.lifecycle_rule : one(rule.condition).age if tolist(one(rule.condition).matches_prefix) == tolist([".glacier/preview/"])]) == 30
    error_message = "Expected what previews wrote to go after 30 days."
  }
}

run "old_versions_expire" {
  command = plan
  variables {
    lifecycle_days = { old_versions = 90 }
  }
  assert {
    condition     = one(google_storage_bucket.bucket.lifecycle_rule[3].condition).days_since_noncurrent_time == 90
    error_message = "Expected old versions to be deleted after 90 days."
  }
}

run "uploads_that_do_not_end_are_aborted" {
  command = plan
  assert {
    condition     = one(google_storage_bucket.bucket.lifecycle_rule[4].action).type == "AbortIncompleteMultipartUpload" && one(google_storage_bucket.bucket.lifecycle_rule[4].condition).age == 2
    error_message = "Expected incomplete uploads to be aborted after 2 days."
  }
}

run "without_an_identity_nothing_is_granted" {
  command = plan
  variables {
    readers = { daily = { prefixes = ["orders/"] } }
    writers = { daily = {} }
  }
  assert {
    condition     = length(google_storage_bucket_iam_member.whole) + length(google_storage_managed_folder_iam_member.prefix) + length(google_storage_bucket_iam_member.name) + length(google_project_iam_custom_role.use) == 0
    error_message = "Expected no grants and no roles."
  }
}

run "a_reader_lists_and_gets_and_nothing_else" {
  command = plan
  variables {
    readers = { daily = { identity = "serviceAccount:daily@acme-prod.iam.gserviceaccount.com" } }
  }
  assert {
    condition     = google_project_iam_custom_role.use["read"].permissions == toset(["storage.objects.get", "storage.objects.list"])
    error_message = "Expected get and list."
  }
}

run "a_writer_puts_and_deletes_too_and_administers_nothing" {
  command = plan
  variables {
    writers = { daily = { identity = "serviceAccount:daily@acme-prod.iam.gserviceaccount.com" } }
  }
  assert {
    condition     = alltrue([for each in google_project_iam_custom_role.use["write"].permissions : can(regex("^storage\\.(objects\\.(create|delete|get|list)|multipartUploads\\.(abort|create|listParts))$", each))]) && length(google_project_iam_custom_role.use["write"].permissions) == 7
    error_message = "Expected create, delete, get, list and the three calls of a multipart upload."
  }
}

run "the_whole_bucket_is_granted_on_the_bucket" {
  command = plan
  variables {
    readers = { daily = { identity = "serviceAccount:daily@acme-prod.iam.gserviceaccount.com" } }
  }
  assert {
    condition     = google_storage_bucket_iam_member.whole["read/daily/"].member == "serviceAccount:daily@acme-prod.iam.gserviceaccount.com" && length(google_storage_bucket_iam_member.whole["read/daily/"].condition) == 0
    error_message = "Expected one grant on the bucket without a condition."
  }
}

run "a_folder_is_granted_as_a_managed_folder" {
  command = plan
  variables {
    readers = { daily = { identity = "serviceAccount:daily@acme-prod.iam.gserviceaccount.com", prefixes = ["orders/"] } }
  }
  assert {
    condition     = google_storage_managed_folder_iam_member.prefix["read/daily/orders/"].managed_folder == "orders/" && length(google_storage_bucket_iam_member.whole) + length(google_storage_bucket_iam_member.name) == 0
    error_message = "Expected one grant on the managed folder orders/, and none on the bucket."
  }
}

run "one_folder_serves_all_its_readers_and_writers" {
  command = plan
  variables {
    readers = { daily = { identity = "serviceAccount:daily@acme-prod.iam.gserviceaccount.com", prefixes = ["orders/"] } }
    writers = { hourly = { identity = "serviceAccount:hourly@acme-prod.iam.gserviceaccount.com", prefixes = ["orders/"] } }
  }
  assert {
    condition     = keys(google_storage_managed_folder.prefix) == ["orders/"] && keys(google_storage_managed_folder_iam_member.prefix) == ["read/daily/orders/", "write/hourly/orders/"]
    error_message = "Expected one managed folder with two grants."
  }
}

run "a_folder_goes_without_its_objects" {
  command = plan
  variables {
    readers = { daily = { identity = "serviceAccount:daily@acme-prod.iam.gserviceaccount.com", prefixes = ["orders/"] } }
  }
  assert {
    condition     = google_storage_managed_folder.prefix["orders/"].force_destroy
    error_message = "Expected that a grant on a folder with objects can be taken back."
  }
}

run "a_single_name_is_granted_by_a_condition" {
  command = plan
  variables {
    writers = { daily = { identity = "serviceAccount:daily@acme-prod.iam.gserviceaccount.com", prefixes = ["out/it's \"new\".csv"] } }
  }
  assert {
    condition     = google_storage_bucket_iam_member.name["write/daily/out/it's \"new\".csv"].condition[0].expression == "resource.name.startsWith(\"projects/_/buckets/acme-prod-raw/objects/out/it's \\\"new\\\".csv\")"
    error_message = "Expected the grant to hold for names that begin so."
  }
}

run "below_a_single_name_can_be_listed" {
  command = plan
  variables {
    writers = { daily = { identity = "serviceAccount:daily@acme-prod.iam.gserviceaccount.com", prefixes = ["out/data"] } }
  }
  assert {
    condition     = google_storage_managed_folder_iam_member.prefix["write/daily/out/data"].managed_folder == "out/data/"
    error_message = "Expected the managed folder out/data/, for data that is a folder."
  }
}

run "settings_of_the_bucket_are_seen_only_by_whom_is_named" {
  command = plan
  variables {
    readers = { hourly = { identity = "serviceAccount:hourly@acme-prod.iam.gserviceaccount.com" } }
    writers = { daily = { identity = "serviceAccount:daily@acme-prod.iam.gserviceaccount.com", prefixes = ["out/"] } }
    cloud   = { metadata = ["daily"] }
  }
  assert {
    condition     = keys(google_storage_bucket_iam_member.metadata) == ["daily"] && google_project_iam_custom_role.use["metadata"].permissions == toset(["storage.buckets.get"])
    error_message = "Expected storage.buckets.get for daily."
  }
}

run "roles_made_elsewhere_are_used" {
  command = plan
  variables {
    readers = { daily = { identity = "serviceAccount:daily@acme-prod.iam.gserviceaccount.com" } }
    cloud   = { roles = { read = "projects/acme-prod/roles/glacier_shop_prod_read" } }
  }
  assert {
    condition     = google_storage_bucket_iam_member.whole["read/daily/"].role == "projects/acme-prod/roles/glacier_shop_prod_read" && length(google_project_iam_custom_role.use) == 0
    error_message = "Expected the role given, and none made."
  }
}

run "buckets_that_differ_in_a_dash_have_roles_of_their_own" {
  command = plan
  variables {
    name    = "acme_prod-raw"
    readers = { daily = { identity = "serviceAccount:daily@acme-prod.iam.gserviceaccount.com" } }
  }
  assert {
    condition     = google_project_iam_custom_role.use["read"].role_id == "glacier_acme_prod_raw_${substr(sha256("acme_prod-raw"), 0, 8)}_read"
    error_message = "Expected a hash of the name in the id of the role."
  }
}

run "the_longest_name_has_a_role_that_google_takes" {
  command = plan
  variables {
    name    = "a23456789-123456789-123456789-123456789-123456789-123456789-123"
    readers = { daily = { identity = "serviceAccount:daily@acme-prod.iam.gserviceaccount.com" } }
    cloud   = { metadata = ["daily"] }
  }
  assert {
    condition     = can(regex("^[a-zA-Z0-9_.]{3,64}$", google_project_iam_custom_role.use["metadata"].role_id))
    error_message = "Expected an id of at most 64 characters."
  }
}

run "labels_are_as_google_takes_them" {
  command = plan
  variables {
    labels = { glacier-project = "Acme Shop", glacier-env = "prod" }
  }
  assert {
    condition     = google_storage_bucket.bucket.labels == tomap({ glacier-project = "acme_shop", glacier-env = "prod" })
    error_message = "Expected small letters, and _ for what Google does not take."
  }
}

run "what_costs_money_is_off" {
  command = plan
  assert {
    condition     = length(google_kms_crypto_key.own) + length(google_storage_bucket.logs) + length(google_storage_bucket.bucket.logging) == 0 && google_storage_bucket.bucket.soft_delete_policy[0].retention_duration_seconds == 0
    error_message = "Expected no key, no access logs and no second copy of deleted objects."
  }
}

run "hardened_logs_access" {
  command = plan
  variables { hardened = true }
  assert {
    condition     = google_storage_bucket.bucket.logging[0].log_bucket == "acme-prod-raw-logs" && google_storage_bucket.logs[0].public_access_prevention == "enforced"
    error_message = "Expected access logs in a private bucket acme-prod-raw-logs."
  }
}

run "hardened_has_a_key_that_is_replaced" {
  command = plan
  variables { hardened = true }
  assert {
    condition     = length(google_storage_bucket.bucket.encryption) == 1 && google_kms_crypto_key.own[0].rotation_period == "7776000s" && google_kms_key_ring.own[0].location == "europe-west1"
    error_message = "Expected a key beside the bucket, replaced every 90 days."
  }
}

run "a_key_of_your_own_is_used" {
  command = plan
  variables {
    hardened = true
    cloud    = { kms_key = "projects/keys/locations/europe-west1/keyRings/r/cryptoKeys/k" }
  }
  assert {
    condition     = google_storage_bucket.bucket.encryption[0].default_kms_key_name == "projects/keys/locations/europe-west1/keyRings/r/cryptoKeys/k" && length(google_kms_crypto_key.own) == 0
    error_message = "Expected the key given, and none made."
  }
}

run "a_replica_is_a_second_region" {
  command = plan
  variables {
    replica = { region = "europe-north1", turbo = true }
  }
  assert {
    condition     = google_storage_bucket.bucket.location == "EU" && google_storage_bucket.bucket.custom_placement_config[0].data_locations == toset(["EUROPE-WEST1", "EUROPE-NORTH1"]) && google_storage_bucket.bucket.rpo == "ASYNC_TURBO"
    error_message = "Expected both regions of the EU, with turbo replication."
  }
}

run "a_replica_on_another_continent_is_refused" {
  command = plan
  variables {
    replica = { region = "us-east1" }
  }
  expect_failures = [google_storage_bucket.bucket]
}

run "a_replica_in_the_same_region_is_refused" {
  command = plan
  variables {
    replica = { region = "europe-west1" }
  }
  expect_failures = [google_storage_bucket.bucket]
}

run "a_short_name_is_refused" {
  command = plan
  variables { name = "ab" }
  expect_failures = [var.name]
}

run "a_long_name_is_refused" {
  command = plan
  variables { name = "a23456789-123456789-123456789-123456789-123456789-123456789-1234" }
  expect_failures = [var.name]
}

run "capitals_are_refused" {
  command = plan
  variables { name = "Acme-raw" }
  expect_failures = [var.name]
}

run "a_dot_is_refused" {
  command = plan
  variables { name = "raw.acme.com" }
  expect_failures = [var.name]
}

run "unicode_is_refused" {
  command = plan
  variables { name = "größe-raw" }
  expect_failures = [var.name]
}

run "a_dash_at_the_end_is_refused" {
  command = plan
  variables { name = "acme-raw-" }
  expect_failures = [var.name]
}

run "the_name_of_google_is_refused" {
  command = plan
  variables { name = "my-google-raw" }
  expect_failures = [var.name]
}

run "a_name_too_long_for_its_logs_is_refused" {
  command = plan
  variables {
    name     = "a23456789-123456789-123456789-123456789-123456789-123456789"
    hardened = true
  }
  expect_failures = [google_storage_bucket.bucket]
}

run "half_days_are_refused" {
  command = plan
  variables {
    lifecycle_days = { exchange = 0.5 }
  }
  expect_failures = [var.lifecycle_days]
}

run "a_replica_where_google_pairs_no_regions_is_refused" {
  command = plan
  variables {
    replica = { region = "me-west1" }
  }
  expect_failures = [var.replica]
}
