# The code of runs, which a deployment brings: archives in the project's buckets, and images. Of buckets no other object.
locals {
  code = merge(
    contains(var.kinds, "bucket") ? {
      for index, names in local.named.storage.names : "archives/${index}" => {
        role = "projects/${var.location.project}/roles/${local.role_id}_archives"
        when = "resource.name.extract(\".glacier/code/{file}\") != \"\" && ${names}"
      }
    } : {},
    contains(var.kinds, "registry") ? {
      for index, names in local.named.registry.names : "images/${index}" => { role = "roles/artifactregistry.writer", when = names }
    } : {},
  )
}

resource "google_project_iam_custom_role" "archives" {
  count       = contains(var.kinds, "bucket") ? 1 : 0
  project     = var.location.project
  role_id     = "${local.role_id}_archives"
  title       = substr("Glacier: archives of ${var.prefix}", 0, 100)
  description = local.description
  permissions = ["storage.objects.create", "storage.objects.delete", "storage.objects.get"]
}

resource "google_project_iam_member" "code" {
  for_each = local.code
  project  = var.location.project
  role     = each.value.role
  member   = "serviceAccount:${local.emails["deploy"]}"

  condition {
    title       = "code ${replace(each.key, "/", " ")}"
    description = "Set by Glacier."
    expression  = each.value.when
  }

  depends_on = [google_service_account.account, google_project_iam_custom_role.archives]
}
