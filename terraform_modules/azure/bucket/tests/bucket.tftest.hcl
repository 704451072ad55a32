mock_provider "azurerm" {
  mock_data "azurerm_client_config" {
    defaults = { subscription_id = "00000000-0000-0000-0000-000000000001" }
  }
}

variables {
  name     = "raw"
  location = { region = "westeurope", resource_group = "shop", account = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/providers/Microsoft.Storage/storageAccounts/shopprod0a1b2c" }
}

# -- in an account that exists --------------------------------------------------------------------------------------

run "container_is_private" {
  command = plan
  assert {
    condition     = azurerm_storage_container.bucket.container_access_type == "private"
    error_message = "Expected a private container."
  }
}

run "account_that_exists_is_taken" {
  command = plan
  assert {
    condition     = azurerm_storage_container.bucket.storage_account_id == var.location.account && length(azurerm_storage_account.account) == 0
    error_message = "Expected the container in the account given, and no other."
  }
}

run "policy_of_an_account_that_exists_is_let_alone" {
  command = plan
  assert {
    condition     = length(azurerm_storage_management_policy.lifecycle) == 0
    error_message = "Expected no lifecycle policy, since an account has one."
  }
}

run "address_is_the_one_of_a_source" {
  command = plan
  assert {
    condition     = output.uri == "abfss://raw@shopprod0a1b2c.dfs.core.windows.net"
    error_message = "Expected the address that AzureBlobSource gives."
  }
}

run "id_is_known_in_the_plan" {
  command = plan
  assert {
    condition     = output.id == "${var.location.account}/blobServices/default/containers/raw"
    error_message = "Expected the container's resource id."
  }
}

run "days_in_an_account_that_exists_are_refused" {
  command = plan
  variables {
    lifecycle_days = { exchange = 3 }
  }
  expect_failures = [azurerm_storage_container.bucket]
}

run "a_replica_in_an_account_that_exists_is_refused" {
  command = plan
  variables {
    replica = { region = "northeurope" }
  }
  expect_failures = [azurerm_storage_container.bucket]
}

# -- grants ---------------------------------------------------------------------------------------------------------

run "nobody_is_granted_anything_by_default" {
  command = plan
  assert {
    condition     = length(azurerm_role_assignment.access) + length(azurerm_role_definition.access) == 0
    error_message = "Expected no role."
  }
}

run "only_who_has_an_identity_is_granted_something" {
  command = plan
  variables {
    readers = { daily = { prefixes = ["orders/"] } }
    writers = { hourly = { identity = "00000000-0000-0000-0000-00000000000a", prefixes = [] } }
  }
  assert {
    condition     = length(azurerm_role_assignment.access) == 0
    error_message = "Expected no grant without an identity or without a prefix."
  }
}

run "readers_list_and_get" {
  command = plan
  variables {
    readers = { daily = { identity = "00000000-0000-0000-0000-00000000000a", prefixes = ["orders/"] } }
  }
  assert {
    condition     = jsonencode({ for verb, role in azurerm_role_definition.access : verb => role.permissions }) == jsonencode({ read = [{ actions = null, data_actions = ["Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"], not_actions = null, not_data_actions = null }] })
    error_message = "Expected one role, which reads blobs and nothing else."
  }
}

run "writers_list_get_put_and_delete" {
  command = plan
  variables {
    writers = { daily = { identity = "00000000-0000-0000-0000-00000000000a", prefixes = ["orders/"] } }
  }
  assert {
    condition = jsonencode({ for verb, role in azurerm_role_definition.access : verb => role.permissions }) == jsonencode({ write = [{
      actions = null
      data_actions = [
        "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action",
        "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete",
        "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read",
        "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write",
      ]
      not_actions      = null
      not_data_actions = null
    }] })
    error_message = "Expected one role without any right to manage the container."
  }
}

run "grants_are_of_the_container_only" {
  command = plan
  variables {
    readers = { daily = { identity = "00000000-0000-0000-0000-00000000000a" } }
    writers = { hourly = { identity = "00000000-0000-0000-0000-00000000000b" } }
  }
  assert {
    condition     = toset([for each in azurerm_role_assignment.access : each.scope]) == toset(["${var.location.account}/blobServices/default/containers/raw"])
    error_message = "Expected assignments at the container."
  }
}

run "a_prefix_limits_listing_and_reading" {
  command = plan
  variables {
    readers = { daily = { identity = "00000000-0000-0000-0000-00000000000a", prefixes = ["orders/", "refunds/"] } }
  }
  assert {
    condition     = azurerm_role_assignment.access["read/daily"].condition == <<-EOT
      (
       (
        !(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND SubOperationMatches{'Blob.List'})
       )
       OR
       (
        @Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'orders/'
        OR
        @Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'refunds/'
       )
      )
      AND
      (
       (
        !(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND NOT SubOperationMatches{'Blob.List'})
       )
       OR
       (
        @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'orders/'
        OR
        @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'refunds/'
       )
      )
    EOT
    error_message = "Expected a condition that lists and reads below the prefixes only."
  }
}

run "a_prefix_limits_writing_too" {
  command = plan
  variables {
    writers = { daily = { identity = "00000000-0000-0000-0000-00000000000a", prefixes = ["orders/"] } }
  }
  assert {
    condition     = azurerm_role_assignment.access["write/daily"].condition == <<-EOT
      (
       (
        !(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND SubOperationMatches{'Blob.List'})
       )
       OR
       (
        @Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'orders/'
       )
      )
      AND
      (
       (
        !(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'} AND NOT SubOperationMatches{'Blob.List'})
       )
       OR
       (
        @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'orders/'
       )
      )
      AND
      (
       (
        !(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write'})
        AND
        !(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action'})
        AND
        !(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete'})
       )
       OR
       (
        @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'orders/'
       )
      )
    EOT
    error_message = "Expected a condition that writes below the prefix only."
  }
}

run "the_whole_bucket_needs_no_condition" {
  command = plan
  variables {
    readers = { daily = { identity = "00000000-0000-0000-0000-00000000000a" } }
  }
  assert {
    condition     = azurerm_role_assignment.access["read/daily"].condition == null
    error_message = "Expected no condition for the empty prefix."
  }
}

run "roles_that_exist_are_taken" {
  command = plan
  variables {
    readers = { daily = { identity = "00000000-0000-0000-0000-00000000000a" } }
    cloud   = { roles = { read = "/subscriptions/00000000-0000-0000-0000-000000000001/providers/Microsoft.Authorization/roleDefinitions/0000" } }
  }
  assert {
    condition     = length(azurerm_role_definition.access) == 0 && endswith(azurerm_role_assignment.access["read/daily"].role_definition_id, "/0000")
    error_message = "Expected the role given and no other."
  }
}

run "roles_are_of_the_accounts_resource_group" {
  command = plan
  variables {
    location = { region = "westeurope", resource_group = "shop", account = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/hub/providers/Microsoft.Storage/storageAccounts/hubdata" }
    readers  = { daily = { identity = "00000000-0000-0000-0000-00000000000a" } }
  }
  assert {
    condition     = azurerm_role_definition.access["read"].assignable_scopes == tolist(["/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/hub"])
    error_message = "Expected roles that can be assigned where the account is."
  }
}

run "roles_of_the_resource_group_are_taken" {
  command = plan
  variables {
    readers = { daily = { identity = "00000000-0000-0000-0000-00000000000a" } }
    cloud   = { shared_roles = true }
  }
  assert {
    condition     = length(azurerm_role_definition.access) == 0 && basename(azurerm_role_assignment.access["read/daily"].role_definition_id) == uuidv5("url", "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/glacier/read")
    error_message = "Expected the role that the module identity makes."
  }
}

run "a_condition_that_azure_refuses_is_refused" {
  command = plan
  variables {
    readers = { daily = { identity = "00000000-0000-0000-0000-00000000000a", prefixes = [for each in range(60) : "a-rather-long-folder-name-with-a-number/${each}/"] } }
  }
  expect_failures = [azurerm_role_assignment.access["read/daily"]]
}

run "a_prefix_that_would_end_its_text_is_refused" {
  command = plan
  variables {
    readers = { daily = { identity = "00000000-0000-0000-0000-00000000000a", prefixes = ["' OR '' StringEquals '"] } }
  }
  expect_failures = [var.readers]
}

run "a_writers_prefix_that_would_end_its_text_is_refused" {
  command = plan
  variables {
    writers = { daily = { prefixes = ["\\"] } }
  }
  expect_failures = [var.writers]
}

# -- in an account of its own ---------------------------------------------------------------------------------------

run "account_of_its_own_is_closed_to_keys_and_the_public" {
  command = plan
  variables {
    location = { region = "westeurope", resource_group = "shop" }
  }
  assert {
    condition = (
      !azurerm_storage_account.account[0].shared_access_key_enabled
      && !azurerm_storage_account.account[0].allow_nested_items_to_be_public
      && azurerm_storage_account.account[0].min_tls_version == "TLS1_2"
      && azurerm_storage_account.account[0].https_traffic_only_enabled
    )
    error_message = "Expected Entra's tokens over TLS 1.2 as the only way in."
  }
}

run "account_of_its_own_has_versions" {
  command = plan
  variables {
    location = { region = "westeurope", resource_group = "shop" }
  }
  assert {
    condition     = azurerm_storage_account.account[0].blob_properties[0].versioning_enabled && azurerm_storage_account.account[0].blob_properties[0].delete_retention_policy[0].days == 7
    error_message = "Expected versions, and seven days of what was deleted."
  }
}

run "account_of_its_own_has_a_name_of_azures" {
  command = plan
  variables {
    name     = "a-long-name-of-a-bucket-that-is-in-code"
    location = { region = "westeurope", resource_group = "shop" }
  }
  assert {
    condition     = can(regex("^alongnameofabucket[0-9a-f]{6}$", azurerm_storage_account.account[0].name))
    error_message = "Expected the first letters of the bucket and six digits of its hash."
  }
}

run "what_previews_wrote_expires" {
  command = plan
  variables {
    location = { region = "westeurope", resource_group = "shop" }
    writers  = { preview = { prefixes = [".glacier/preview/"] } }
  }
  assert {
    condition = jsonencode(one([
      for rule in azurerm_storage_management_policy.lifecycle[0].rule :
      [rule.actions[0].base_blob[0].delete_after_days_since_modification_greater_than, rule.filters[0].prefix_match] if rule.name == "previews"
    ])) == jsonencode([30, ["raw/.glacier/preview/"]])
    error_message = "Expected what previews wrote to go after 30 days."
  }
}

run "account_of_its_own_lets_what_is_temporary_expire" {
  command = plan
  variables {
    location = { region = "westeurope", resource_group = "shop" }
    writers  = { daily = { prefixes = ["orders/"] } }
  }
  assert {
    condition = jsonencode({
      for rule in azurerm_storage_management_policy.lifecycle[0].rule :
      rule.name => { days = rule.actions[0].version[0].delete_after_days_since_creation, below = rule.filters[0].prefix_match }
      }) == jsonencode({
      exchange    = { days = 7, below = ["raw/.glacier/cache/", "raw/.glacier/exchange/", "raw/orders/.glacier/cache/", "raw/orders/.glacier/exchange/"] }
      uploads     = { days = 2, below = ["raw/.glacier/writes/", "raw/orders/.glacier/writes/"] }
      oldVersions = { days = 30, below = ["raw/"] }
    })
    error_message = "Expected the exchange, unpublished writes and old versions to expire."
  }
}

run "what_is_current_stays" {
  command = plan
  variables {
    location = { region = "westeurope", resource_group = "shop" }
  }
  assert {
    condition     = one([for rule in azurerm_storage_management_policy.lifecycle[0].rule : length(rule.actions[0].base_blob) if rule.name == "oldVersions"]) == 0
    error_message = "Expected that no rule for the whole container deletes what is current."
  }
}

run "a_replica_is_a_second_account_with_all_that_was_ever_written" {
  command = plan
  variables {
    location = { region = "westeurope", resource_group = "shop" }
    replica  = { region = "northeurope" }
  }
  assert {
    condition     = azurerm_storage_account.copy[0].location == "northeurope" && one(azurerm_storage_object_replication.copy[0].rules).copy_blobs_created_after == "Everything"
    error_message = "Expected a copy of the container in the second region."
  }
}

run "the_replica_is_closed_too" {
  command = plan
  variables {
    location = { region = "westeurope", resource_group = "shop" }
    replica  = { region = "northeurope" }
  }
  assert {
    condition     = !azurerm_storage_account.copy[0].shared_access_key_enabled && azurerm_storage_account.copy[0].name != azurerm_storage_account.account[0].name
    error_message = "Expected an account of another name, without keys."
  }
}

run "hardened_copies_and_logs" {
  command = plan
  variables {
    location = { region = "westeurope", resource_group = "shop" }
    hardened = true
  }
  assert {
    condition     = azurerm_storage_account.account[0].account_replication_type == "GRS" && length(azurerm_monitor_diagnostic_setting.access) == 1
    error_message = "Expected a copy in the paired region and a log of every access."
  }
}

run "costs_nothing_unasked" {
  command = plan
  variables {
    location = { region = "westeurope", resource_group = "shop" }
  }
  assert {
    condition     = azurerm_storage_account.account[0].account_replication_type == "LRS" && length(azurerm_monitor_diagnostic_setting.access) + length(azurerm_storage_account.copy) == 0
    error_message = "Expected one region and no log by default."
  }
}

run "data_is_kept_unless_told" {
  command = plan
  assert {
    condition     = !terraform_data.guard.input.allow_data_loss
    error_message = "Expected allow_data_loss = false by default."
  }
}

# -- names ----------------------------------------------------------------------------------------------------------

run "a_name_with_capitals_is_refused" {
  command = plan
  variables {
    name = "Raw"
  }
  expect_failures = [var.name]
}

run "a_name_with_a_dot_is_refused" {
  command = plan
  variables {
    name = "raw.data"
  }
  expect_failures = [var.name]
}

run "a_name_with_two_hyphens_is_refused" {
  command = plan
  variables {
    name = "raw--data"
  }
  expect_failures = [var.name]
}

run "a_name_that_is_too_short_is_refused" {
  command = plan
  variables {
    name = "ab"
  }
  expect_failures = [var.name]
}

run "a_name_that_is_too_long_is_refused" {
  command = plan
  variables {
    name = "abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghij1234"
  }
  expect_failures = [var.name]
}

run "a_name_with_letters_of_another_alphabet_is_refused" {
  command = plan
  variables {
    name = "übersicht"
  }
  expect_failures = [var.name]
}

run "an_account_by_name_only_is_refused" {
  command = plan
  variables {
    location = { region = "westeurope", resource_group = "shop", account = "shopprod0a1b2c" }
  }
  expect_failures = [var.location]
}

run "half_a_day_is_refused" {
  command = plan
  variables {
    lifecycle_days = { exchange = 0.5 }
  }
  expect_failures = [var.lifecycle_days]
}
