output "plan" {
  description = "What a workflow needs to become who plans: inputs of azure/login, none of them secret."
  value = {
    client_id       = azurerm_user_assigned_identity.github["plan"].client_id
    tenant_id       = data.azurerm_client_config.current.tenant_id
    subscription_id = local.subscription_id
  }
  depends_on = [azurerm_federated_identity_credential.github, azurerm_role_assignment.plan, azurerm_role_assignment.state]
}

output "deploy" {
  description = "What a workflow needs to become who deploys: inputs of azure/login, none of them secret."
  value = {
    client_id       = azurerm_user_assigned_identity.github["deploy"].client_id
    tenant_id       = data.azurerm_client_config.current.tenant_id
    subscription_id = local.subscription_id
  }
  depends_on = [azurerm_federated_identity_credential.github, azurerm_role_assignment.deploy, azurerm_role_assignment.grant, azurerm_role_assignment.state]
}

output "boundary" {
  description = "Null: Azure has no permissions boundary, a condition limits which roles are given to whom."
  value       = null
}

output "provider_id" {
  description = "Null: in Azure each identity trusts GitHub by itself."
  value       = null
}
