mock_provider "azurerm" {
  mock_data "azurerm_client_config" {
    defaults = { subscription_id = "00000000-0000-0000-0000-000000000001" }
  }
}

variables {
  name     = "shopprod0a1b2c"
  location = { region = "westeurope", resource_group = "shop" }
}

run "nobody_has_a_key" {
  command = plan
  assert {
    condition     = !azurerm_storage_account.account.shared_access_key_enabled && azurerm_storage_account.account.default_to_oauth_authentication && !azurerm_storage_account.account.local_user_enabled
    error_message = "Expected Entra's tokens as the only way in."
  }
}

run "nothing_is_public" {
  command = plan
  assert {
    condition     = !azurerm_storage_account.account.allow_nested_items_to_be_public
    error_message = "Expected that no container can be made public."
  }
}

run "connections_are_encrypted" {
  command = plan
  assert {
    condition     = azurerm_storage_account.account.min_tls_version == "TLS1_2" && azurerm_storage_account.account.https_traffic_only_enabled
    error_message = "Expected TLS 1.2 and nothing less."
  }
}

run "what_is_overwritten_or_deleted_can_be_had_back" {
  command = plan
  assert {
    condition = (
      azurerm_storage_account.account.blob_properties[0].versioning_enabled
      && azurerm_storage_account.account.blob_properties[0].delete_retention_policy[0].days == 7
      && azurerm_storage_account.account.blob_properties[0].container_delete_retention_policy[0].days == 7
    )
    error_message = "Expected versions, and seven days of blobs and containers that were deleted."
  }
}

run "id_is_known_in_the_plan" {
  command = plan
  assert {
    condition     = output.id == "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/providers/Microsoft.Storage/storageAccounts/shopprod0a1b2c"
    error_message = "Expected the id that is built from the names."
  }
}

run "no_bucket_no_rule" {
  command = plan
  assert {
    condition     = length(azurerm_storage_management_policy.lifecycle) == 0
    error_message = "Expected no lifecycle policy without containers."
  }
}

run "what_is_temporary_expires" {
  command = plan
  variables {
    buckets = { raw = {} }
  }
  assert {
    condition = jsonencode({
      for rule in azurerm_storage_management_policy.lifecycle[0].rule :
      rule.name => { days = rule.actions[0].base_blob[*].delete_after_days_since_modification_greater_than, below = rule.filters[0].prefix_match }
      }) == jsonencode({
      rawExchange    = { days = [7], below = ["raw/.glacier/cache/", "raw/.glacier/exchange/"] }
      rawUploads     = { days = [2], below = ["raw/.glacier/writes/"] }
      rawOldVersions = { days = [], below = ["raw/"] }
    })
    error_message = "Expected the exchange after 7 days, unpublished writes after 2, and nothing else of what is current."
  }
}

run "what_previews_wrote_expires" {
  command = plan
  variables {
    buckets = { raw = { folders = [".glacier/preview/"] } }
  }
  assert {
    condition = jsonencode({
      for rule in azurerm_storage_management_policy.lifecycle[0].rule :
      rule.name => { days = rule.actions[0].base_blob[*].delete_after_days_since_modification_greater_than, below = rule.filters[0].prefix_match }
      }) == jsonencode({
      rawExchange    = { days = [7], below = ["raw/.glacier/cache/", "raw/.glacier/exchange/"] }
      rawOldVersions = { days = [], below = ["raw/"] }
      rawPreviews    = { days = [30], below = ["raw/.glacier/preview/"] }
      rawUploads     = { days = [2], below = ["raw/.glacier/writes/"] }
    })
    error_message = "Expected what previews wrote to go after 30 days, and no other rule for their folder."
  }
}

run "old_versions_expire" {
  command = plan
  variables {
    buckets = { raw = { lifecycle_days = { old_versions = 14 } } }
  }
  assert {
    condition     = one([for rule in azurerm_storage_management_policy.lifecycle[0].rule : rule.actions[0].version[0].delete_after_days_since_creation if rule.name == "rawOldVersions"]) == 14
    error_message = "Expected old versions to go after the days given."
  }
}

run "folders_that_are_written_to_have_temporary_files_too" {
  command = plan
  variables {
    buckets = { raw = { folders = ["orders/"] } }
  }
  assert {
    condition     = one([for rule in azurerm_storage_management_policy.lifecycle[0].rule : rule.filters[0].prefix_match if rule.name == "rawUploads"]) == toset(["raw/.glacier/writes/", "raw/orders/.glacier/writes/"])
    error_message = "Expected unpublished writes beside what is written to expire."
  }
}

run "ten_prefixes_are_in_a_rule" {
  command = plan
  variables {
    buckets = { raw = { folders = ["a/", "b/", "c/", "d/", "e/", "f/", "g/", "h/", "i/", "j/", "k/"] } }
  }
  assert {
    condition     = alltrue([for rule in azurerm_storage_management_policy.lifecycle[0].rule : length(rule.filters[0].prefix_match) <= 10]) && length(azurerm_storage_management_policy.lifecycle[0].rule) == 6
    error_message = "Expected that rules are split where Azure takes no more prefixes."
  }
}

run "rules_have_names_that_azure_takes" {
  command = plan
  variables {
    buckets = { "raw-data" = {}, rawdata = {} }
  }
  assert {
    condition     = length(azurerm_storage_management_policy.lifecycle[0].rule) == 6 && alltrue([for rule in azurerm_storage_management_policy.lifecycle[0].rule : can(regex("^[0-9A-Za-z]+$", rule.name))])
    error_message = "Expected letters and digits, and rules for both containers."
  }
}

run "costs_nothing_unasked" {
  command = plan
  assert {
    condition     = azurerm_storage_account.account.account_replication_type == "LRS" && length(azurerm_monitor_diagnostic_setting.access) + length(azurerm_log_analytics_workspace.access) == 0
    error_message = "Expected one region and no log by default."
  }
}

run "hardened_copies_to_the_paired_region" {
  command = plan
  variables {
    hardened = true
  }
  assert {
    condition     = azurerm_storage_account.account.account_replication_type == "GRS"
    error_message = "Expected a copy in the paired region."
  }
}

run "hardened_logs_every_access" {
  command = plan
  variables {
    hardened = true
  }
  assert {
    condition     = toset(azurerm_monitor_diagnostic_setting.access[0].enabled_log[*].category) == toset(["StorageRead", "StorageWrite", "StorageDelete"])
    error_message = "Expected a log of reads, writes and deletions."
  }
}

run "endpoint_can_be_closed" {
  command = plan
  variables {
    cloud = { public_endpoint = false }
  }
  assert {
    condition     = !azurerm_storage_account.account.public_network_access_enabled && azurerm_storage_account.account.network_rules[0].default_action == "Deny"
    error_message = "Expected no answer to public addresses."
  }
}

run "endpoint_can_be_for_some_addresses" {
  command = plan
  variables {
    cloud = { allowed_ips = ["203.0.113.7"] }
  }
  assert {
    condition     = azurerm_storage_account.account.network_rules[0].default_action == "Deny" && azurerm_storage_account.account.network_rules[0].ip_rules == toset(["203.0.113.7"])
    error_message = "Expected answers to these addresses only."
  }
}

run "own_key_is_used" {
  command = plan
  variables {
    cloud = { customer_key = { id = "https://keys.vault.azure.net/keys/shop", identity = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/providers/Microsoft.ManagedIdentity/userAssignedIdentities/keys" } }
  }
  assert {
    condition     = azurerm_storage_account.account.customer_managed_key[0].key_vault_key_id == "https://keys.vault.azure.net/keys/shop"
    error_message = "Expected encryption by the key given."
  }
}

run "data_is_kept_unless_told" {
  command = plan
  assert {
    condition     = !terraform_data.guard.input.allow_data_loss
    error_message = "Expected allow_data_loss = false by default."
  }
}

run "labels_are_tags" {
  command = plan
  variables {
    labels = { glacier-env = "prod" }
  }
  assert {
    condition     = azurerm_storage_account.account.tags == tomap({ glacier-env = "prod" })
    error_message = "Expected the labels as tags."
  }
}

run "a_name_with_capitals_is_refused" {
  command = plan
  variables {
    name = "ShopProd"
  }
  expect_failures = [var.name]
}

run "a_name_that_is_too_long_is_refused" {
  command = plan
  variables {
    name = "shopprodshopprodshopprod1"
  }
  expect_failures = [var.name]
}

run "a_name_with_a_dot_is_refused" {
  command = plan
  variables {
    name = "shop.prod"
  }
  expect_failures = [var.name]
}

run "a_container_that_azure_refuses_is_refused" {
  command = plan
  variables {
    buckets = { "my--data" = {} }
  }
  expect_failures = [var.buckets]
}

run "a_folder_without_a_slash_is_refused" {
  command = plan
  variables {
    buckets = { raw = { folders = ["orders"] } }
  }
  expect_failures = [var.buckets]
}
