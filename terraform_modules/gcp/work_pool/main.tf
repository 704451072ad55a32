locals {
  labels = {
    for key, value in var.labels : substr(replace(lower(key), "/[^a-z0-9_-]/", "_"), 0, 63) => substr(replace(lower(value), "/[^a-z0-9_-]/", "_"), 0, 63)
  }

  # Ids of accounts have 6 to 30 characters. The hash keeps what was cut off, and pools and pipelines of one name, apart.
  slug       = replace(lower(var.name), "/[^a-z0-9]+/", "-")
  worker_id  = "work-${trim(substr(local.slug, 0, 16), "-")}-${substr(sha256(var.name), 0, 8)}"
  account_id = { for name in keys(var.pipelines) : name => "run-${trim(substr(replace(lower(name), "/[^a-z0-9]+/", "-"), 0, 17), "-")}-${substr(sha256("${var.name}/${name}"), 0, 8)}" }

  # A project of a domain, example.com:shop, has its accounts at shop.example.com.
  domain = "${join(".", reverse(split(":", var.location.project)))}.iam.gserviceaccount.com"
  emails = { for name, id in local.account_id : name => "${id}@${local.domain}" }

  own_worker   = var.cloud.worker_identity == null
  worker_email = local.own_worker ? "${local.worker_id}@${local.domain}" : trimprefix(var.cloud.worker_identity, "serviceAccount:")
  worker       = local.own_worker ? "serviceAccount:${local.worker_email}" : var.cloud.worker_identity

  role_id = "glacier_${trim(substr(replace(local.slug, "-", "_"), 0, 36), "_")}_${substr(sha256(var.name), 0, 8)}_worker"
  role    = coalesce(var.cloud.worker_role, "projects/${var.location.project}/roles/${local.role_id}")

  # The worker gives none of its own to runs: each reads the key by itself.
  server_secrets = { for use, name in { api_key = var.server.api_key_secret, auth_string = var.server.auth_string_secret } : use => name if name != null }
  reading = merge([
    for use, secret in local.server_secrets : merge(
      { for name, email in local.emails : "${use}/run/${name}" => { secret = secret, member = "serviceAccount:${email}" } },
      var.worker == "service" ? { "${use}/worker" = { secret = secret, member = local.worker } } : {},
    )
  ]...)

  makes_connector = var.network != null && var.cloud.connector == null
  connector       = local.makes_connector ? "projects/${var.location.project}/locations/${var.location.region}/connectors/${google_vpc_access_connector.runs[0].name}" : var.cloud.connector
}

# One account for each pipeline's runs, without a key.
resource "google_service_account" "run" {
  for_each     = local.account_id
  project      = var.location.project
  account_id   = each.value
  display_name = substr("Runs of ${each.key}", 0, 100)
  description  = substr("Runs of the pipeline ${each.key} in the Prefect work pool ${var.name}.", 0, 256)
}

# What starts runs: a worker, wherever it is, or Prefect Cloud.
resource "google_service_account" "worker" {
  count        = local.own_worker ? 1 : 0
  project      = var.location.project
  account_id   = local.worker_id
  display_name = substr("Worker of ${var.name}", 0, 100)
  description  = substr("Starts runs of the Prefect work pool ${var.name}.", 0, 256)
}

# Prefect's worker makes a job for each run, runs it, watches it and deletes it: these calls and no others. Cloud Run takes
# no condition on names, and the names of jobs are those of runs, so it holds for all jobs of the project.
resource "google_project_iam_custom_role" "worker" {
  count       = var.cloud.worker_role == null ? 1 : 0
  project     = var.location.project
  role_id     = local.role_id
  title       = substr("Glacier: worker of ${var.name}", 0, 100)
  description = "Starts runs as Cloud Run jobs."
  permissions = [
    "run.executions.delete",
    "run.executions.get",
    "run.executions.list",
    "run.jobs.create",
    "run.jobs.delete",
    "run.jobs.get",
    "run.jobs.run",
  ]
}

resource "google_project_iam_member" "worker" {
  project    = var.location.project
  role       = local.role
  member     = local.worker
  depends_on = [google_project_iam_custom_role.worker, google_service_account.worker]
}

# To start a job as an account is to act as it: only as these.
resource "google_service_account_iam_member" "acts_as" {
  for_each           = local.account_id
  service_account_id = "projects/${var.location.project}/serviceAccounts/${local.emails[each.key]}"
  role               = "roles/iam.serviceAccountUser"
  member             = local.worker
  depends_on         = [google_service_account.run, google_service_account.worker]
}

resource "google_secret_manager_secret_iam_member" "server" {
  for_each   = local.reading
  project    = var.location.project
  secret_id  = each.value.secret
  role       = "roles/secretmanager.secretAccessor"
  member     = each.value.member
  depends_on = [google_service_account.run, google_service_account.worker]
}

# Prefect's job template knows a network by a connector only.
resource "google_vpc_access_connector" "runs" {
  count         = local.makes_connector ? 1 : 0
  project       = var.location.project
  region        = var.location.region
  name          = "g${substr(sha256(var.name), 0, 12)}" # at most 25 characters
  network       = element(split("/", var.network.id), length(split("/", var.network.id)) - 1)
  ip_cidr_range = var.cloud.connector_cidr
  machine_type  = "e2-micro"
  min_instances = 2
  max_instances = 3
}
