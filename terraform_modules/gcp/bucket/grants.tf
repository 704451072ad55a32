# Who may do what. A prefix is granted where Google can limit all of it, listing too: on a managed folder. A condition by
# name cannot limit listing, so it carries only what is done with single objects.

locals {
  permissions = {
    read = ["storage.objects.get", "storage.objects.list"]
    write = [
      "storage.multipartUploads.abort",
      "storage.multipartUploads.create",
      "storage.multipartUploads.listParts",
      "storage.objects.create",
      "storage.objects.delete",
      "storage.objects.get",
      "storage.objects.list",
    ]
    metadata = ["storage.buckets.get"]
  }

  grants = merge([
    for verb, parties in { read = var.readers, write = var.writers } : merge([
      for who, party in parties : {
        for prefix in party.prefixes : "${verb}/${who}/${prefix}" => { verb = verb, identity = party.identity, prefix = prefix }
      } if party.identity != null
    ]...)
  ]...)

  whole   = { for key, grant in local.grants : key => grant if grant.prefix == "" }
  folders = { for key, grant in local.grants : key => merge(grant, { folder = "${trimsuffix(grant.prefix, "/")}/" }) if grant.prefix != "" }
  names   = { for key, grant in local.grants : key => grant if grant.prefix != "" && !endswith(grant.prefix, "/") }
  seeing  = { for who, party in merge(var.readers, var.writers) : who => party.identity if contains(var.cloud.metadata, who) && party.identity != null }

  uses = setunion([for grant in local.grants : grant.verb], length(local.seeing) > 0 ? ["metadata"] : [])
  made = toset([for use in local.uses : use if var.cloud.roles[use] == null])
  # Ids of roles have no dash, and are not free again for weeks; the hash keeps a-b and a_b apart.
  role_ids = { for use in local.uses : use => "glacier_${substr(replace(var.name, "-", "_"), 0, 36)}_${substr(sha256(var.name), 0, 8)}_${use}" }
  roles    = { for use in local.uses : use => coalesce(var.cloud.roles[use], "projects/${var.location.project}/roles/${local.role_ids[use]}") }
}

# Exact roles: Google's own ones for objects may also make and delete managed folders, and with them the grants of others.
resource "google_project_iam_custom_role" "use" {
  for_each    = local.made
  project     = var.location.project
  role_id     = local.role_ids[each.key]
  title       = "Glacier: ${each.key} of ${var.name}"
  description = "Made with the bucket ${var.name}, for grants on it."
  permissions = local.permissions[each.key]
}

resource "google_storage_bucket_iam_member" "whole" {
  for_each   = local.whole
  bucket     = google_storage_bucket.bucket.name
  role       = local.roles[each.value.verb]
  member     = each.value.identity
  depends_on = [google_project_iam_custom_role.use]
}

resource "google_storage_managed_folder" "prefix" {
  for_each      = toset([for grant in local.folders : grant.folder])
  bucket        = google_storage_bucket.bucket.name
  name          = each.key
  force_destroy = true # which destroys the grants on it only: the objects stay
}

resource "google_storage_managed_folder_iam_member" "prefix" {
  for_each       = local.folders
  bucket         = google_storage_bucket.bucket.name
  managed_folder = google_storage_managed_folder.prefix[each.value.folder].name
  role           = local.roles[each.value.verb]
  member         = each.value.identity
  depends_on     = [google_project_iam_custom_role.use]
}

resource "google_storage_bucket_iam_member" "name" {
  for_each = local.names
  bucket   = google_storage_bucket.bucket.name
  role     = local.roles[each.value.verb]
  member   = each.value.identity

  condition {
    title       = "${each.value.verb} ${substr(sha256(each.value.prefix), 0, 12)}"
    description = "Objects whose names begin so; no listing."
    expression  = "resource.name.startsWith(${jsonencode("projects/_/buckets/${var.name}/objects/${each.value.prefix}")})"
  }
  depends_on = [google_project_iam_custom_role.use]
}

resource "google_storage_bucket_iam_member" "metadata" {
  for_each   = local.seeing
  bucket     = google_storage_bucket.bucket.name
  role       = local.roles["metadata"]
  member     = each.value
  depends_on = [google_project_iam_custom_role.use]
}
