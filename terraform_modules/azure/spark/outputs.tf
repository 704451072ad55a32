output "settings" {
  description = "What SparkExecutor needs, for all pipelines: service and host, which is DatabricksExecutor's too."
  value       = { service = "databricks", host = "https://${azurerm_databricks_workspace.spark.workspace_url}" }
  depends_on  = [azurerm_role_assignment.submit]
}

output "pipeline_settings" {
  description = "The same in every cloud: settings by pipeline, on top. Here there are none."
  value       = { for name in keys(var.pipelines) : name => {} }
}

output "identities" {
  description = "By pipeline: the object id of its identity, as readers and writers of buckets take it."
  value       = { for name, each in azurerm_user_assigned_identity.pipeline : name => format("%s", each.principal_id) } # so known not to be null
}

output "workspace_id" {
  description = "Resource id of the workspace, as the provider of Databricks takes it."
  value       = local.workspace_id
  depends_on  = [azurerm_databricks_workspace.spark]
}

output "access_connectors" {
  description = "By pipeline: resource ids of what lends Unity Catalog its identity, connector and identity, for a storage credential."
  value = {
    for name, each in local.names : name => {
      connector = "${local.group_id}/providers/Microsoft.Databricks/accessConnectors/${each}"
      identity  = "${local.group_id}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/${each}"
    }
  }
  depends_on = [azurerm_databricks_access_connector.pipeline]
}
