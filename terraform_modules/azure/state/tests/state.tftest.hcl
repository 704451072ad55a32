mock_provider "azurerm" {
  mock_data "azurerm_client_config" {
    defaults = { subscription_id = "00000000-0000-0000-0000-000000000001", tenant_id = "00000000-0000-0000-0000-000000000002" }
  }
}

variables {
  name     = "shopstate0a1b2c"
  location = { region = "westeurope", resource_group = "shop" }
}

run "backend_needs_no_key" {
  command = plan
  assert {
    condition = jsonencode(output.backend) == jsonencode({
      container_name       = "tfstate"
      resource_group_name  = "shop"
      storage_account_name = "shopstate0a1b2c"
      subscription_id      = "00000000-0000-0000-0000-000000000001"
      tenant_id            = "00000000-0000-0000-0000-000000000002"
      use_azuread_auth     = true
    })
    error_message = "Expected the settings of the backend azurerm, by Entra's tokens."
  }
}

run "id_is_the_containers" {
  command = plan
  assert {
    condition     = output.id == "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/providers/Microsoft.Storage/storageAccounts/shopstate0a1b2c/blobServices/default/containers/tfstate"
    error_message = "Expected the resource id that is built from the names."
  }
}

run "nobody_has_a_key" {
  command = plan
  assert {
    condition     = !azurerm_storage_account.state.shared_access_key_enabled && !azurerm_storage_account.state.local_user_enabled
    error_message = "Expected Entra's tokens as the only way in."
  }
}

run "nothing_is_public" {
  command = plan
  assert {
    condition     = !azurerm_storage_account.state.allow_nested_items_to_be_public && azurerm_storage_container.state.container_access_type == "private"
    error_message = "Expected a private container in an account that has no public ones."
  }
}

run "connections_are_encrypted" {
  command = plan
  assert {
    condition     = azurerm_storage_account.state.min_tls_version == "TLS1_2" && azurerm_storage_account.state.https_traffic_only_enabled
    error_message = "Expected TLS 1.2 and nothing less."
  }
}

run "every_state_can_be_had_back" {
  command = plan
  assert {
    condition     = azurerm_storage_account.state.blob_properties[0].versioning_enabled && azurerm_storage_account.state.blob_properties[0].delete_retention_policy[0].days == 30
    error_message = "Expected versions, and thirty days of what was deleted."
  }
}

run "only_old_states_go" {
  command = plan
  assert {
    condition     = length(azurerm_storage_management_policy.lifecycle.rule[0].actions[0].base_blob) == 0 && azurerm_storage_management_policy.lifecycle.rule[0].actions[0].version[0].delete_after_days_since_creation == 90
    error_message = "Expected that what is current stays."
  }
}

run "hardened_copies_and_logs" {
  command = plan
  variables {
    hardened = true
  }
  assert {
    condition     = azurerm_storage_account.state.account_replication_type == "GRS" && length(azurerm_monitor_diagnostic_setting.access) == 1
    error_message = "Expected a copy in the paired region and a log of every access."
  }
}

run "data_is_kept_unless_told" {
  command = plan
  assert {
    condition     = !terraform_data.guard.input.allow_data_loss
    error_message = "Expected allow_data_loss = false by default."
  }
}

run "a_name_that_azure_refuses_is_refused" {
  command = plan
  variables {
    name = "shop-state"
  }
  expect_failures = [var.name]
}

run "a_container_that_azure_refuses_is_refused" {
  command = plan
  variables {
    cloud = { container = "Shop_State" }
  }
  expect_failures = [var.cloud]
}
