locals {
  labels = join(", ", [for key, value in var.labels : "${key}=${value}"])
  about  = local.labels == "" ? "" : " (${local.labels})"

  # Ids of accounts have 6 to 30 characters. The hash keeps what was cut off, and environments, apart.
  account_id = { for name in keys(var.pipelines) : name => "spark-${trim(substr(replace(lower(name), "/[^a-z0-9]+/", "-"), 0, 15), "-")}-${substr(sha256("${var.name}/${name}"), 0, 8)}" }
  domain     = "${join(".", reverse(split(":", var.location.project)))}.iam.gserviceaccount.com"
  emails     = { for name, id in local.account_id : name => "${id}@${local.domain}" }

  permissions = {
    # What Dataproc's own role for workers has, without all objects of the project.
    run = [
      "dataproc.agents.create",
      "dataproc.agents.delete",
      "dataproc.agents.get",
      "dataproc.agents.list",
      "dataproc.agents.update",
      "dataproc.tasks.lease",
      "dataproc.tasks.listInvalidatedLeases",
      "dataproc.tasks.reportStatus",
      "logging.logEntries.create",
      "monitoring.metricDescriptors.create",
      "monitoring.metricDescriptors.get",
      "monitoring.metricDescriptors.list",
      "monitoring.timeSeries.create",
    ]
    staging = [
      "storage.buckets.get",
      "storage.objects.create",
      "storage.objects.delete",
      "storage.objects.get",
      "storage.objects.list",
    ]
    submit = ["dataproc.batches.cancel", "dataproc.batches.create", "dataproc.batches.get", "dataproc.operations.cancel"]
  }

  uses     = setunion(length(var.pipelines) > 0 ? ["run", "staging"] : [], length(var.submitters) > 0 ? ["submit"] : [])
  made     = toset([for use in local.uses : use if var.cloud.roles[use] == null])
  slug     = trim(substr(replace(lower(var.name), "/[^a-z0-9]+/", "_"), 0, 30), "_")
  role_ids = { for use in local.uses : use => "glacier_${local.slug}_${substr(sha256(var.name), 0, 8)}_spark_${use}" }
  roles    = { for use in local.uses : use => coalesce(var.cloud.roles[use], "projects/${var.location.project}/roles/${local.role_ids[use]}") }

  acting = merge([
    for who, submitter in var.submitters : {
      for pipeline in contains(keys(var.pipelines), who) ? [who] : keys(var.pipelines) : "${who}/${pipeline}" => { pipeline = pipeline, identity = submitter.identity }
    }
  ]...)
}

# One account for each pipeline's jobs, without a key.
resource "google_service_account" "job" {
  for_each     = local.account_id
  project      = var.location.project
  account_id   = each.value
  display_name = substr("Spark jobs of ${each.key}", 0, 100)
  description  = substr("Spark jobs of the pipeline ${each.key}, ${var.name}${local.about}.", 0, 256)
}

resource "google_project_iam_custom_role" "use" {
  for_each    = local.made
  project     = var.location.project
  role_id     = local.role_ids[each.key]
  title       = substr("Glacier: Spark ${each.key}, ${var.name}", 0, 100)
  description = "Jobs of Dataproc Serverless."
  permissions = local.permissions[each.key]
}

resource "google_project_iam_member" "run" {
  for_each   = local.emails
  project    = var.location.project
  role       = local.roles["run"]
  member     = "serviceAccount:${each.value}"
  depends_on = [google_project_iam_custom_role.use, google_service_account.job]
}

# Dataproc makes two buckets in a region, for its own files and logs of jobs; their names end in what nobody knows before.
resource "google_project_iam_member" "staging" {
  for_each = local.emails
  project  = var.location.project
  role     = local.roles["staging"]
  member   = "serviceAccount:${each.value}"

  condition {
    title       = "Dataproc's own buckets"
    description = "Those that Dataproc makes in ${var.location.region}."
    expression  = join(" || ", [for use in ["staging", "temp"] : "resource.name.startsWith(\"projects/_/buckets/dataproc-${use}-${var.location.region}-\")"])
  }
  depends_on = [google_project_iam_custom_role.use, google_service_account.job]
}

resource "google_project_iam_member" "submit" {
  for_each   = var.submitters
  project    = var.location.project
  role       = local.roles["submit"]
  member     = each.value.identity
  depends_on = [google_project_iam_custom_role.use]
}

# To submit a job as an account is to act as it: only as these.
resource "google_service_account_iam_member" "acts_as" {
  for_each           = local.acting
  service_account_id = "projects/${var.location.project}/serviceAccounts/${local.emails[each.value.pipeline]}"
  role               = "roles/iam.serviceAccountUser"
  member             = each.value.identity
  depends_on         = [google_service_account.job]
}
