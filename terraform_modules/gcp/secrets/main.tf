locals {
  labels = {
    for key, value in var.labels : substr(replace(lower(key), "/[^a-z0-9_-]/", "_"), 0, 63) => substr(replace(lower(value), "/[^a-z0-9_-]/", "_"), 0, 63)
  }

  stored = { for name in var.names : name => "${var.prefix}${name}" }
  grants = merge([
    for who, reader in var.readers : { for name in reader.names : "${who}/${name}" => { name = name, identity = reader.identity } }
  ]...)

  makes_key = var.hardened && var.cloud.kms_key == null
  key       = local.makes_key ? google_kms_crypto_key.own[0].id : var.cloud.kms_key
  number    = local.makes_key && var.cloud.project_number == null ? data.google_project.own[0].number : var.cloud.project_number
}

# Without versions: who knows a value puts it in.
resource "google_secret_manager_secret" "secret" {
  for_each  = local.stored
  project   = var.location.project
  secret_id = each.value
  labels    = local.labels

  deletion_protection = !var.allow_data_loss

  replication {
    user_managed {
      replicas {
        location = var.location.region

        dynamic "customer_managed_encryption" {
          for_each = var.hardened || var.cloud.kms_key != null ? [1] : []
          content {
            kms_key_name = local.key
          }
        }
      }
    }
  }

  lifecycle {
    precondition {
      condition     = length(each.value) <= 255
      error_message = "Google takes a secret's name of at most 255 characters, the prefix included."
    }
  }

  depends_on = [google_kms_crypto_key_iam_member.secrets]
}

resource "google_secret_manager_secret_iam_member" "reader" {
  for_each  = local.grants
  project   = var.location.project
  secret_id = google_secret_manager_secret.secret[each.value.name].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = each.value.identity

  lifecycle {
    precondition {
      condition     = contains(var.names, each.value.name)
      error_message = "readers[].names has ${each.value.name}, which is not in names."
    }
  }
}

# What hardened turns on: a key.

data "google_project" "own" {
  count      = local.makes_key && var.cloud.project_number == null ? 1 : 0
  project_id = var.location.project
}

resource "google_kms_key_ring" "own" {
  count    = local.makes_key ? 1 : 0
  project  = var.location.project
  name     = "${substr(var.prefix, 0, 46)}secrets-${substr(sha256(var.prefix), 0, 8)}"
  location = var.location.region
}

resource "google_kms_crypto_key" "own" {
  #checkov:skip=CKV_GCP_82:prevent_destroy takes no variable; Glacier asks before a key is destroyed, and Google keeps it for 30 days more
  count           = local.makes_key ? 1 : 0
  name            = "secrets"
  key_ring        = google_kms_key_ring.own[0].id
  rotation_period = "7776000s"
  labels          = local.labels

  destroy_scheduled_duration = "2592000s"
}

resource "google_kms_crypto_key_iam_member" "secrets" {
  count         = local.makes_key ? 1 : 0
  crypto_key_id = google_kms_crypto_key.own[0].id
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = "serviceAccount:service-${local.number}@gcp-sa-secretmanager.iam.gserviceaccount.com"
}
