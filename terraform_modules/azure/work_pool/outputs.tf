# Names are known in the plan already; who uses one still waits for the pool's infrastructure.

output "name" {
  description = "Name of the Prefect work pool."
  value       = var.name
  depends_on  = [azurerm_role_assignment.start, azurerm_role_assignment.identity]
}

output "type" {
  description = "Prefect's type of the work pool."
  value       = var.type
  depends_on  = [azurerm_role_assignment.start, azurerm_role_assignment.identity]
}

output "job_variables" {
  description = "Defaults of the pool's job variables, for every run."
  value = merge(
    { env = var.env },
    local.on_aci ? { resource_group_name = var.location.resource_group, subscription_id = local.subscription_id } : null,
    local.on_aci && var.image != null ? { image = var.image } : null,
    local.on_aci && var.network != null ? { subnet_ids = [local.subnet] } : null,
  )
  depends_on = [azurerm_role_assignment.start, azurerm_role_assignment.identity]
}

output "pipeline_job_variables" {
  description = "Job variables by pipeline, on top of the pool's: the identity of its runs."
  value = {
    for name, pipeline in var.pipelines : name => merge(
      local.on_aci ? { identities = [local.identity_ids[name]], env = { AZURE_CLIENT_ID = azurerm_user_assigned_identity.pipeline[name].client_id } } : null,
      local.on_aci && pipeline.image != null ? { image = pipeline.image } : null,
      local.on_aci && contains(keys(local.registries), name) ? { image_registry = { registry_url = lookup(local.registries, name, ""), identity = local.identity_ids[name] } } : null,
    )
  }
  depends_on = [azurerm_role_assignment.identity]
}

output "identities" {
  description = "By pipeline: the object id of its identity, as readers and writers of buckets, secrets and registries take it."
  value       = { for name, each in azurerm_user_assigned_identity.pipeline : name => format("%s", each.principal_id) } # so known not to be null
}

output "worker_identity" {
  description = "Object id of the principal that starts runs, null if there is none."
  value       = local.worker_principal
}
