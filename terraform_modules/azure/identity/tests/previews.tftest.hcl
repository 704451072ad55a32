mock_provider "azurerm" {
  mock_data "azurerm_client_config" {
    defaults = { subscription_id = "00000000-0000-0000-0000-000000000001", tenant_id = "00000000-0000-0000-0000-000000000002" }
  }
}

variables {
  name       = "shop"
  repository = "acme/shop"
  location   = { region = "westeurope", resource_group = "shop" }
  state      = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/providers/Microsoft.Storage/storageAccounts/shopstate/blobServices/default/containers/tfstate"
  cloud      = { state_prefix = "shop/prod/" }
  previews   = true
}

run "who_plans_writes_previews_beside_the_state" {
  command = plan
  assert {
    condition     = length(regexall("StringStartsWith 'shop/prod/preview/'", azurerm_role_assignment.previews["state"].condition)) == 2 && azurerm_role_assignment.previews["state"].scope == var.state
    error_message = "Expected listing and all else to be limited to previews."
  }
}

run "who_plans_writes_previews_in_containers" {
  command = plan
  assert {
    condition     = length(regexall("StringStartsWith '\\.glacier/preview/'", azurerm_role_assignment.previews["archives"].condition)) == 2
    error_message = "Expected listing and all else to be limited to previews."
  }
}

run "nothing_but_buckets_has_previews_in_it" {
  command = plan
  variables {
    kinds = ["secrets"]
    state = null
  }
  assert {
    condition     = length(azurerm_role_assignment.previews) == 0
    error_message = "Expected no assignment where there is neither a state nor a bucket."
  }
}

run "previews_are_not_written_unasked" {
  command = plan
  variables {
    previews = false
  }
  assert {
    condition     = length(azurerm_role_assignment.previews) == 0
    error_message = "Expected no assignment."
  }
}
