locals {
  labels = {
    for key, value in var.labels : substr(replace(lower(key), "/[^a-z0-9_-]/", "_"), 0, 63) => substr(replace(lower(value), "/[^a-z0-9_-]/", "_"), 0, 63)
  }

  grants = merge(
    { for who, reader in var.readers : "read/${who}" => { role = "roles/artifactregistry.reader", identity = reader.identity } },
    { for who, writer in var.writers : "write/${who}" => { role = "roles/artifactregistry.writer", identity = writer.identity } },
  )

  makes_key = var.hardened && var.cloud.kms_key == null
  key       = local.makes_key ? google_kms_crypto_key.own[0].id : var.cloud.kms_key
  number    = local.makes_key && var.cloud.project_number == null ? data.google_project.own[0].number : var.cloud.project_number
}

resource "google_artifact_registry_repository" "images" {
  project       = var.location.project
  location      = var.location.region
  repository_id = var.name
  description   = "Images of Glacier's runs."
  format        = "DOCKER"
  labels        = local.labels
  kms_key_name  = var.hardened || var.cloud.kms_key != null ? local.key : null

  docker_config {
    immutable_tags = var.cloud.immutable_tags
  }

  vulnerability_scanning_config {
    enablement_config = var.hardened ? "INHERITED" : "DISABLED"
  }

  # What is to be kept beats what is to be deleted.
  cleanup_policy_dry_run = false

  cleanup_policies {
    id     = "keep-newest"
    action = "KEEP"
    most_recent_versions {
      keep_count = var.keep_images
    }
  }

  cleanup_policies {
    id     = "delete-untagged"
    action = "DELETE"
    condition {
      tag_state  = "UNTAGGED"
      older_than = "${var.untagged_days * 86400}s"
    }
  }

  cleanup_policies {
    id     = "delete-others"
    action = "DELETE"
    condition {
      tag_state  = "TAGGED"
      older_than = "86400s" # so that none goes while its first run starts
    }
  }

  depends_on = [google_kms_crypto_key_iam_member.registry]
}

resource "google_artifact_registry_repository_iam_member" "grant" {
  for_each   = local.grants
  project    = var.location.project
  location   = var.location.region
  repository = google_artifact_registry_repository.images.repository_id
  role       = each.value.role
  member     = each.value.identity
}

# What hardened turns on: a key.

data "google_project" "own" {
  count      = local.makes_key && var.cloud.project_number == null ? 1 : 0
  project_id = var.location.project
}

resource "google_kms_key_ring" "own" {
  count    = local.makes_key ? 1 : 0
  project  = var.location.project
  name     = var.name
  location = var.location.region
}

resource "google_kms_crypto_key" "own" {
  #checkov:skip=CKV_GCP_82:prevent_destroy takes no variable; Glacier asks before a key is destroyed, and Google keeps it for 30 days more
  count           = local.makes_key ? 1 : 0
  name            = "images"
  key_ring        = google_kms_key_ring.own[0].id
  rotation_period = "7776000s"
  labels          = local.labels

  destroy_scheduled_duration = "2592000s"
}

resource "google_kms_crypto_key_iam_member" "registry" {
  count         = local.makes_key ? 1 : 0
  crypto_key_id = google_kms_crypto_key.own[0].id
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = "serviceAccount:service-${local.number}@gcp-sa-artifactregistry.iam.gserviceaccount.com"
}
