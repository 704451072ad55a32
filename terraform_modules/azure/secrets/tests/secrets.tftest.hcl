mock_provider "azurerm" {
  mock_data "azurerm_client_config" {
    defaults = { subscription_id = "00000000-0000-0000-0000-000000000001", tenant_id = "00000000-0000-0000-0000-000000000002" }
  }
}

variables {
  names    = ["DB_PASSWORD", "api-key"]
  location = { region = "westeurope", resource_group = "shop" }
}

run "names_are_those_that_key_vault_takes" {
  command = plan
  variables {
    prefix = "shop-prod-"
  }
  assert {
    condition     = output.names == { DB_PASSWORD = "shop-prod-DB-PASSWORD", api-key = "shop-prod-api-key" }
    error_message = "Expected the prefix, and hyphens in place of underscores."
  }
}

run "ids_are_those_of_the_secrets" {
  command = plan
  variables {
    cloud = { vault = "shop-secrets" }
  }
  assert {
    condition     = output.ids["DB_PASSWORD"] == "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/providers/Microsoft.KeyVault/vaults/shop-secrets/secrets/DB-PASSWORD"
    error_message = "Expected a resource id below the vault's."
  }
}

run "address_is_the_one_of_the_provider" {
  command = plan
  variables {
    cloud = { vault = "shop-secrets" }
  }
  assert {
    condition     = output.store.url == "https://shop-secrets.vault.azure.net"
    error_message = "Expected what AzureProvider takes in key_vault."
  }
}

run "rights_are_roles" {
  command = plan
  assert {
    condition     = azurerm_key_vault.secrets[0].rbac_authorization_enabled
    error_message = "Expected roles in place of access policies."
  }
}

run "what_was_deleted_can_be_had_back" {
  command = plan
  assert {
    condition     = azurerm_key_vault.secrets[0].purge_protection_enabled && azurerm_key_vault.secrets[0].soft_delete_retention_days == 90
    error_message = "Expected ninety days, in which nobody removes it for good."
  }
}

run "a_vault_has_a_name_of_azures" {
  command = plan
  assert {
    condition     = can(regex("^glacier-[0-9a-f]{12}$", azurerm_key_vault.secrets[0].name))
    error_message = "Expected a name that is derived, of at most 24 letters."
  }
}

run "a_reader_reads_its_own_secrets_only" {
  command = plan
  variables {
    readers = { daily = { identity = "00000000-0000-0000-0000-00000000000a", names = ["DB_PASSWORD"] } }
    cloud   = { vault = "shop-secrets" }
  }
  assert {
    condition = jsonencode({ for key, each in azurerm_role_assignment.reader : key => [each.scope, each.role_definition_id] }) == jsonencode({
      "daily/DB_PASSWORD" = [
        "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/providers/Microsoft.KeyVault/vaults/shop-secrets/secrets/DB-PASSWORD",
        "/subscriptions/00000000-0000-0000-0000-000000000001/providers/Microsoft.Authorization/roleDefinitions/4633458b-17de-408a-b874-0445c86b69e6",
      ]
    })
    error_message = "Expected Key Vault Secrets User at this secret."
  }
}

run "nobody_reads_by_default" {
  command = plan
  assert {
    condition     = length(azurerm_role_assignment.reader) == 0
    error_message = "Expected no role."
  }
}

run "a_vault_that_exists_is_taken" {
  command = plan
  variables {
    location = { region = "westeurope", resource_group = "shop", vault = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/hub/providers/Microsoft.KeyVault/vaults/hub" }
  }
  assert {
    condition     = length(azurerm_key_vault.secrets) == 0 && output.ids["api-key"] == "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/hub/providers/Microsoft.KeyVault/vaults/hub/secrets/api-key"
    error_message = "Expected the vault given and no other."
  }
}

run "costs_nothing_unasked" {
  command = plan
  assert {
    condition     = azurerm_key_vault.secrets[0].sku_name == "standard" && length(azurerm_monitor_diagnostic_setting.access) == 0
    error_message = "Expected the standard vault, without a log."
  }
}

run "hardened_has_hardware_and_a_log" {
  command = plan
  variables {
    hardened = true
  }
  assert {
    condition     = azurerm_key_vault.secrets[0].sku_name == "premium" && one(azurerm_monitor_diagnostic_setting.access[0].enabled_log).category == "AuditEvent"
    error_message = "Expected hardware modules and a log of every access."
  }
}

run "endpoint_can_be_closed" {
  command = plan
  variables {
    cloud = { public_endpoint = false }
  }
  assert {
    condition     = !azurerm_key_vault.secrets[0].public_network_access_enabled && azurerm_key_vault.secrets[0].network_acls[0].default_action == "Deny"
    error_message = "Expected no answer to public addresses."
  }
}

run "data_is_kept_unless_told" {
  command = plan
  assert {
    condition     = !terraform_data.guard[0].input.allow_data_loss
    error_message = "Expected allow_data_loss = false by default."
  }
}

run "a_reader_of_another_secret_is_refused" {
  command = plan
  variables {
    readers = { daily = { identity = "00000000-0000-0000-0000-00000000000a", names = ["OTHER"] } }
  }
  expect_failures = [azurerm_role_assignment.reader["daily/OTHER"]]
}

run "a_name_that_key_vault_refuses_is_refused" {
  command = plan
  variables {
    names = ["db.password"]
  }
  expect_failures = [var.names]
}

run "two_names_that_would_be_one_are_refused" {
  command = plan
  variables {
    names = ["DB_PASSWORD", "db-password"]
  }
  expect_failures = [var.names]
}

run "a_prefix_that_key_vault_refuses_is_refused" {
  command = plan
  variables {
    prefix = "shop/"
  }
  expect_failures = [var.prefix]
}

run "a_vaults_name_that_is_too_long_is_refused" {
  command = plan
  variables {
    cloud = { vault = "abcdefghijabcdefghijabcde" }
  }
  expect_failures = [var.cloud]
}

run "a_vault_by_name_only_is_refused" {
  command = plan
  variables {
    location = { region = "westeurope", resource_group = "shop", vault = "hub" }
  }
  expect_failures = [var.location]
}
