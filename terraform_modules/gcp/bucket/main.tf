locals {
  labels = {
    for key, value in var.labels : substr(replace(lower(key), "/[^a-z0-9_-]/", "_"), 0, 63) => substr(replace(lower(value), "/[^a-z0-9_-]/", "_"), 0, 63)
  }

  # A bucket in two regions is placed on their continent; its key has to be there too.
  continent    = lookup({ europe = "EU", asia = "ASIA" }, split("-", try(var.replica.region, "us-"))[0], "US")
  location     = var.replica == null ? upper(var.location.region) : local.continent
  key_location = var.replica == null ? var.location.region : split("-", var.replica.region)[0]

  makes_key  = var.hardened && var.cloud.kms_key == null
  makes_logs = var.hardened && var.cloud.log_bucket == null
  key        = local.makes_key ? google_kms_crypto_key.own[0].id : var.cloud.kms_key
  log_bucket = local.makes_logs ? google_storage_bucket.logs[0].name : var.cloud.log_bucket

  # Sinks stage beside their target, and an exchange may be below any folder: so these are wherever somebody writes.
  written   = toset(flatten([for each in var.writers : [for prefix in each.prefixes : join("", regexall("^.*/", split(".glacier/", prefix)[0]))]]))
  own       = [for folder in setunion([""], local.written) : "${folder}.glacier/"]
  temporary = flatten([for folder in local.own : ["${folder}exchange/", "${folder}cache/"]])
  unwritten = [for folder in local.own : "${folder}writes/"]
}

resource "google_storage_bucket" "bucket" {
  #checkov:skip=CKV_GCP_62:access logs cost money, so they come with hardened = true
  project  = var.location.project
  name     = var.name
  location = local.location
  labels   = local.labels

  storage_class               = "STANDARD"
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = var.allow_data_loss
  rpo                         = try(var.replica.turbo, false) ? "ASYNC_TURBO" : null

  versioning {
    enabled = true
  }

  # Old versions restore what was deleted or replaced; to keep deleted versions on top of that costs their storage twice.
  soft_delete_policy {
    retention_duration_seconds = var.hardened ? 604800 : 0
  }

  dynamic "custom_placement_config" {
    for_each = var.replica == null ? [] : [var.replica.region]
    content {
      data_locations = [upper(var.location.region), upper(custom_placement_config.value)]
    }
  }

  dynamic "encryption" {
    for_each = var.hardened || var.cloud.kms_key != null ? [1] : []
    content {
      default_kms_key_name = local.key
    }
  }

  dynamic "logging" {
    for_each = var.hardened || var.cloud.log_bucket != null ? [1] : []
    content {
      log_bucket        = local.log_bucket
      log_object_prefix = var.name
    }
  }

  lifecycle_rule {
    action { type = "Delete" }
    condition {
      age            = var.lifecycle_days.exchange
      matches_prefix = local.temporary
      with_state     = "LIVE"
    }
  }

  lifecycle_rule {
    action { type = "Delete" }
    condition {
      age            = var.lifecycle_days.uploads
      matches_prefix = local.unwritten
      with_state     = "LIVE"
    }
  }

  # A version of what was never meant to last is no use to anyone.
  lifecycle_rule {
    action { type = "Delete" }
    condition {
      days_since_noncurrent_time = var.lifecycle_days.uploads
      matches_prefix             = concat(local.temporary, local.unwritten)
      with_state                 = "ARCHIVED"
    }
  }

  lifecycle_rule {
    action { type = "Delete" }
    condition {
      days_since_noncurrent_time = var.lifecycle_days.old_versions
      with_state                 = "ARCHIVED"
    }
  }

  lifecycle_rule {
    action { type = "AbortIncompleteMultipartUpload" }
    condition {
      age = var.lifecycle_days.uploads
    }
  }

  # Whoever may write there is a preview, and it is over when its branch is.
  dynamic "lifecycle_rule" {
    for_each = anytrue([for each in var.writers : contains(each.prefixes, ".glacier/preview/")]) ? [".glacier/preview/"] : []
    content {
      action { type = "Delete" }
      condition {
        age            = var.lifecycle_days.old_versions
        matches_prefix = [lifecycle_rule.value]
        with_state     = "LIVE"
      }
    }
  }

  lifecycle {
    precondition {
      condition     = var.replica == null ? true : split("-", var.replica.region)[0] == split("-", var.location.region)[0] && var.replica.region != var.location.region
      error_message = "replica.region is another region of the continent of location.region: Google pairs regions within us, europe or asia."
    }
    precondition {
      condition     = !local.makes_logs || length(var.name) <= 58
      error_message = "A hardened bucket has a name of at most 58 characters, since its access logs go to NAME-logs: Google takes 63."
    }
  }

  depends_on = [google_kms_crypto_key_iam_member.storage]
}

# What hardened turns on: a key, and a bucket for access logs.

data "google_storage_project_service_account" "storage" {
  count   = local.makes_key ? 1 : 0
  project = var.location.project
}

resource "google_kms_key_ring" "own" {
  count    = local.makes_key ? 1 : 0
  project  = var.location.project
  name     = var.name
  location = local.key_location
}

resource "google_kms_crypto_key" "own" {
  #checkov:skip=CKV_GCP_82:prevent_destroy takes no variable; Glacier asks before a key is destroyed, and Google keeps it for 30 days more
  count           = local.makes_key ? 1 : 0
  name            = "objects"
  key_ring        = google_kms_key_ring.own[0].id
  rotation_period = "7776000s"
  labels          = local.labels

  destroy_scheduled_duration = "2592000s"
}

resource "google_kms_crypto_key_iam_member" "storage" {
  count         = local.makes_key ? 1 : 0
  crypto_key_id = google_kms_crypto_key.own[0].id
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = "serviceAccount:${data.google_storage_project_service_account.storage[0].email_address}"
}

resource "google_storage_bucket" "logs" {
  #checkov:skip=CKV_GCP_62:it has the access logs itself; logs of their own access would never end
  count    = local.makes_logs ? 1 : 0
  project  = var.location.project
  name     = "${var.name}-logs"
  location = local.location
  labels   = local.labels

  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = var.allow_data_loss

  versioning {
    enabled = true
  }

  soft_delete_policy {
    retention_duration_seconds = 0
  }

  lifecycle_rule {
    action { type = "Delete" }
    condition {
      age        = 365
      with_state = "LIVE"
    }
  }

  lifecycle_rule {
    action { type = "Delete" }
    condition {
      days_since_noncurrent_time = var.lifecycle_days.old_versions
      with_state                 = "ARCHIVED"
    }
  }
}

resource "google_storage_bucket_iam_member" "logs" {
  count  = local.makes_logs ? 1 : 0
  bucket = google_storage_bucket.logs[0].name
  role   = "roles/storage.objectCreator"
  member = "group:cloud-storage-analytics@google.com" # Google's writer of access logs
}
