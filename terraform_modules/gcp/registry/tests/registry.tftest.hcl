mock_provider "google" {
  mock_data "google_project" { defaults = { number = "123456789012" } }
}

variables {
  name     = "glacier-acme-prod"
  location = { project = "acme-prod", region = "europe-west1" }
}

run "a_name_and_a_place_are_all_that_is_needed" {
  command = plan
  assert {
    condition     = output.url == "europe-west1-docker.pkg.dev/acme-prod/glacier-acme-prod" && output.id == "projects/acme-prod/locations/europe-west1/repositories/glacier-acme-prod"
    error_message = "Expected the address of images and the id."
  }
}

run "it_holds_images" {
  command = plan
  assert {
    condition     = google_artifact_registry_repository.images.format == "DOCKER"
    error_message = "Expected a repository of images."
  }
}

run "the_newest_images_are_kept" {
  command = plan
  assert {
    condition     = one([for each in google_artifact_registry_repository.images.cleanup_policies : each.most_recent_versions[0].keep_count if each.action == "KEEP"]) == 20
    error_message = "Expected the newest 20 to be kept."
  }
}

run "images_without_a_tag_are_deleted" {
  command = plan
  assert {
    condition     = one([for each in google_artifact_registry_repository.images.cleanup_policies : each.condition[0].older_than if each.id == "delete-untagged"]) == "604800s"
    error_message = "Expected untagged images to be deleted after 7 days."
  }
}

run "cleaning_up_is_more_than_a_rehearsal" {
  command = plan
  assert {
    condition     = !google_artifact_registry_repository.images.cleanup_policy_dry_run
    error_message = "Expected the policies to be in force."
  }
}

run "nobody_is_let_in_by_default" {
  command = plan
  assert {
    condition     = length(google_artifact_registry_repository_iam_member.grant) == 0
    error_message = "Expected no grants."
  }
}

run "a_reader_pulls_and_a_writer_pushes" {
  command = plan
  variables {
    readers = { worker = { identity = "serviceAccount:worker@acme-prod.iam.gserviceaccount.com" } }
    writers = { builds = { identity = "serviceAccount:builds@acme-prod.iam.gserviceaccount.com" } }
  }
  assert {
    condition     = google_artifact_registry_repository_iam_member.grant["read/worker"].role == "roles/artifactregistry.reader" && google_artifact_registry_repository_iam_member.grant["write/builds"].role == "roles/artifactregistry.writer"
    error_message = "Expected Google's roles for pulling and for pushing, on this repository."
  }
}

run "what_costs_money_is_off" {
  command = plan
  assert {
    condition     = google_artifact_registry_repository.images.vulnerability_scanning_config[0].enablement_config == "DISABLED" && length(google_kms_crypto_key.own) == 0
    error_message = "Expected no scans, each of which costs money, and no key."
  }
}

run "hardened_scans" {
  command = plan
  variables { hardened = true }
  assert {
    condition     = google_artifact_registry_repository.images.vulnerability_scanning_config[0].enablement_config == "INHERITED"
    error_message = "Expected scans as the project has them."
  }
}

run "hardened_has_a_key_that_the_registry_may_use" {
  command = plan
  variables { hardened = true }
  assert {
    condition     = google_kms_crypto_key_iam_member.registry[0].member == "serviceAccount:service-123456789012@gcp-sa-artifactregistry.iam.gserviceaccount.com" && google_kms_crypto_key.own[0].rotation_period == "7776000s"
    error_message = "Expected a key that is replaced, given to Artifact Registry's agent."
  }
}

run "a_key_of_your_own_is_used" {
  command = plan
  variables {
    hardened = true
    cloud    = { kms_key = "projects/keys/locations/europe-west1/keyRings/r/cryptoKeys/k" }
  }
  assert {
    condition     = google_artifact_registry_repository.images.kms_key_name == "projects/keys/locations/europe-west1/keyRings/r/cryptoKeys/k" && length(google_kms_crypto_key.own) == 0
    error_message = "Expected the key given, and none made."
  }
}

run "labels_are_as_google_takes_them" {
  command = plan
  variables {
    labels = { glacier-project = "Acme Shop" }
  }
  assert {
    condition     = google_artifact_registry_repository.images.labels == tomap({ glacier-project = "acme_shop" })
    error_message = "Expected small letters, and _ for what Google does not take."
  }
}

run "a_name_that_google_refuses_is_refused" {
  command = plan
  variables { name = "Acme_images" }
  expect_failures = [var.name]
}

run "keeping_no_image_is_refused" {
  command = plan
  variables { keep_images = 0 }
  expect_failures = [var.keep_images]
}

run "half_days_are_refused" {
  command = plan
  variables { untagged_days = 0.5 }
  expect_failures = [var.untagged_days]
}
