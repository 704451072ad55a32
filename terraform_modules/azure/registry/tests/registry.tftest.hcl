mock_provider "azurerm" {
  mock_data "azurerm_client_config" {
    defaults = { subscription_id = "00000000-0000-0000-0000-000000000001" }
  }
}

variables {
  name     = "glaciershopprod"
  location = { region = "westeurope", resource_group = "shop" }
}

run "names_are_known_in_the_plan" {
  command = plan
  assert {
    condition     = output.url == "glaciershopprod.azurecr.io" && output.id == "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/providers/Microsoft.ContainerRegistry/registries/glaciershopprod"
    error_message = "Expected the address and the id that are built from the name."
  }
}

run "nobody_has_a_password" {
  command = plan
  assert {
    condition     = !azurerm_container_registry.registry.admin_enabled && !azurerm_container_registry.registry.anonymous_pull_enabled
    error_message = "Expected no admin user and no anonymous pull."
  }
}

run "old_images_go" {
  command = plan
  assert {
    condition     = strcontains(base64decode(azurerm_container_registry_task.retention.encoded_step[0].task_content), "acr purge --filter '.*:.*' --keep 20 --ago 7d --untagged")
    error_message = "Expected that twenty images stay, and untagged ones for seven days."
  }
}

run "old_images_go_every_night" {
  command = plan
  assert {
    condition     = azurerm_container_registry_task.retention.timer_trigger[0].schedule == "0 3 * * *" && azurerm_container_registry_task.retention.timer_trigger[0].enabled
    error_message = "Expected a task each night."
  }
}

run "readers_pull_and_writers_push" {
  command = plan
  variables {
    readers = { daily = { identity = "00000000-0000-0000-0000-00000000000a" } }
    writers = { build = { identity = "00000000-0000-0000-0000-00000000000b" } }
  }
  assert {
    condition = jsonencode({ for key, each in azurerm_role_assignment.access : key => [basename(each.role_definition_id), each.principal_id, each.scope] }) == jsonencode({
      "read/daily"  = ["7f951dda-4ed3-4680-a7ca-43fe172d538d", "00000000-0000-0000-0000-00000000000a", output.id]
      "write/build" = ["8311e382-0749-4cb8-b61a-304f252e45ec", "00000000-0000-0000-0000-00000000000b", output.id]
    })
    error_message = "Expected AcrPull and AcrPush at the registry."
  }
}

run "nobody_is_granted_anything_by_default" {
  command = plan
  assert {
    condition     = length(azurerm_role_assignment.access) == 0
    error_message = "Expected no role."
  }
}

run "costs_no_more_than_the_basic_one_unasked" {
  command = plan
  assert {
    condition     = azurerm_container_registry.registry.sku == "Basic" && !azurerm_container_registry.registry.zone_redundancy_enabled
    error_message = "Expected the basic registry."
  }
}

run "hardened_is_the_premium_one" {
  command = plan
  variables {
    hardened = true
  }
  assert {
    condition     = azurerm_container_registry.registry.sku == "Premium" && azurerm_container_registry.registry.zone_redundancy_enabled && azurerm_container_registry.registry.retention_policy_in_days == 7
    error_message = "Expected the premium registry, in several zones, with its own retention."
  }
}

run "hardened_can_be_closed" {
  command = plan
  variables {
    hardened = true
    cloud    = { public_endpoint = false }
  }
  assert {
    condition     = !azurerm_container_registry.registry.public_network_access_enabled
    error_message = "Expected no answer to public addresses."
  }
}

run "data_is_kept_unless_told" {
  command = plan
  assert {
    condition     = !terraform_data.guard.input.allow_data_loss
    error_message = "Expected allow_data_loss = false by default."
  }
}

run "the_basic_one_cannot_be_closed" {
  command = plan
  variables {
    cloud = { public_endpoint = false }
  }
  expect_failures = [azurerm_container_registry.registry]
}

run "a_name_with_a_hyphen_is_refused" {
  command = plan
  variables {
    name = "glacier-shop"
  }
  expect_failures = [var.name]
}

run "a_name_that_is_too_short_is_refused" {
  command = plan
  variables {
    name = "shop"
  }
  expect_failures = [var.name]
}

run "keeping_no_image_is_refused" {
  command = plan
  variables {
    keep_images = 0
  }
  expect_failures = [var.keep_images]
}

run "days_that_azure_refuses_are_refused" {
  command = plan
  variables {
    untagged_days = 400
  }
  expect_failures = [var.untagged_days]
}
