locals {
  parts   = split("/", trimprefix(var.volume, "/Volumes/"))
  catalog = try(local.parts[0], "")
  schema  = try(local.parts[1], "")
  name    = try(local.parts[2], "")
  full    = join(".", local.parts)
  labels  = join(", ", [for key, value in var.labels : "${key}=${value}"])
  comment = "Glacier's code and frames on their way; removed after seven days.${local.labels == "" ? "" : " ${local.labels}"}"
}

resource "databricks_external_location" "exchange" {
  count = var.storage == null || var.existing ? 0 : 1

  name            = "glacier-${join("-", local.parts)}"
  url             = var.storage.url
  credential_name = var.storage.credential
  comment         = local.comment
  force_destroy   = false
}

resource "databricks_volume" "exchange" {
  count = var.existing ? 0 : 1

  catalog_name     = local.catalog
  schema_name      = local.schema
  name             = local.name
  volume_type      = var.storage == null ? "MANAGED" : "EXTERNAL"
  storage_location = one(databricks_external_location.exchange[*].url)
  comment          = local.comment
}

# By principal, so that what others were granted stays. Nothing else in the catalog and the schema is seen by this.
resource "databricks_grant" "catalog" {
  for_each = var.users

  catalog    = local.catalog
  principal  = each.value.identity
  privileges = ["USE_CATALOG"]
}

resource "databricks_grant" "schema" {
  for_each = var.users

  schema     = "${local.catalog}.${local.schema}"
  principal  = each.value.identity
  privileges = ["USE_SCHEMA"]
}

resource "databricks_grant" "volume" {
  for_each = var.users

  volume     = local.full
  principal  = each.value.identity
  privileges = ["READ_VOLUME", "WRITE_VOLUME"]

  depends_on = [databricks_volume.exchange]
}
