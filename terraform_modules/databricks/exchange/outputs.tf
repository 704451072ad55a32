output "volume" {
  description = "The volume, as the executor takes it."
  value       = var.volume
  depends_on  = [databricks_grant.catalog, databricks_grant.schema, databricks_grant.volume, databricks_volume.exchange]
}

output "id" {
  description = "The volume's name in Unity Catalog: CATALOG.SCHEMA.VOLUME."
  value       = local.full
  depends_on  = [databricks_volume.exchange]
}
