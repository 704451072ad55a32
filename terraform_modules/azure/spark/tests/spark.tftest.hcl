mock_provider "azurerm" {
  mock_data "azurerm_client_config" {
    defaults = { subscription_id = "00000000-0000-0000-0000-000000000001" }
  }
  mock_resource "azurerm_user_assigned_identity" {
    defaults = {
      id           = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/providers/Microsoft.ManagedIdentity/userAssignedIdentities/mocked"
      principal_id = "00000000-0000-0000-0000-00000000000d"
    }
  }
  mock_resource "azurerm_databricks_workspace" {
    defaults = { workspace_url = "adb-1.1.azuredatabricks.net" }
  }
}

variables {
  name     = "glacier-shop-prod-spark"
  location = { region = "westeurope", resource_group = "shop" }
}

run "settings_are_those_of_the_executor" {
  assert {
    condition     = output.settings == { service = "databricks", host = "https://adb-1.1.azuredatabricks.net" }
    error_message = "Expected the service, and the workspace's address as host."
  }
}

run "clusters_have_no_public_address" {
  command = plan
  assert {
    condition     = azurerm_databricks_workspace.spark.custom_parameters[0].no_public_ip
    error_message = "Expected machines without a public address."
  }
}

run "unity_catalog_is_there" {
  command = plan
  assert {
    condition     = azurerm_databricks_workspace.spark.sku == "premium"
    error_message = "Expected the premium workspace."
  }
}

run "every_pipeline_has_an_identity" {
  variables {
    pipelines = { daily = {}, hourly = {} }
  }
  assert {
    condition     = output.identities == { daily = "00000000-0000-0000-0000-00000000000d", hourly = "00000000-0000-0000-0000-00000000000d" }
    error_message = "Expected the object ids of two identities."
  }
}

run "every_identity_is_lent_to_unity_catalog" {
  command = plan
  variables {
    pipelines = { daily = {} }
  }
  assert {
    condition     = azurerm_databricks_access_connector.pipeline["daily"].identity[0].type == "UserAssigned" && endswith(output.access_connectors["daily"].connector, "/accessConnectors/glacier-shop-prod-spark-daily")
    error_message = "Expected an access connector with the pipeline's identity."
  }
}

run "identities_are_tagged_with_their_pipeline" {
  command = plan
  variables {
    pipelines = { daily = {} }
    labels    = { glacier-env = "prod" }
  }
  assert {
    condition     = azurerm_user_assigned_identity.pipeline["daily"].tags == tomap({ glacier-env = "prod", glacier-pipeline = "daily" })
    error_message = "Expected the labels and the pipeline as tags."
  }
}

run "names_that_azure_refuses_are_replaced_and_kept_apart" {
  command = plan
  variables {
    pipelines = { "a b" = {}, "a/b" = {} }
  }
  assert {
    condition     = length(distinct([for each in azurerm_user_assigned_identity.pipeline : each.name])) == 2 && alltrue([for each in azurerm_user_assigned_identity.pipeline : can(regex("^[0-9A-Za-z_-]+$", each.name))])
    error_message = "Expected two names that Azure takes."
  }
}

run "submitters_find_the_workspace_and_no_more" {
  command = plan
  variables {
    submitters = { worker = { identity = "00000000-0000-0000-0000-00000000000a" } }
  }
  assert {
    condition     = azurerm_role_definition.submit[0].permissions[0].actions == tolist(["Microsoft.Databricks/workspaces/read"]) && azurerm_role_assignment.submit["worker"].scope == output.workspace_id
    error_message = "Expected reading of the workspace itself."
  }
}

run "nobody_submits_by_default" {
  command = plan
  assert {
    condition     = length(azurerm_role_assignment.submit) + length(azurerm_role_definition.submit) == 0
    error_message = "Expected no role."
  }
}

run "the_role_of_the_resource_group_is_taken" {
  command = plan
  variables {
    submitters = { worker = { identity = "00000000-0000-0000-0000-00000000000a" } }
    cloud      = { shared_roles = true }
  }
  assert {
    condition     = length(azurerm_role_definition.submit) == 0 && basename(azurerm_role_assignment.submit["worker"].role_definition_id) == uuidv5("url", "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/glacier/submit")
    error_message = "Expected the role that the module identity makes."
  }
}

run "a_network_of_ones_own_is_used" {
  command = plan
  variables {
    network = { id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/providers/Microsoft.Network/virtualNetworks/shop" }
    cloud   = { subnets = { host = { name = "host", association = "/subscriptions/1/host" }, container = { name = "container", association = "/subscriptions/1/container" } } }
  }
  assert {
    condition     = azurerm_databricks_workspace.spark.custom_parameters[0].virtual_network_id == var.network.id && azurerm_databricks_workspace.spark.custom_parameters[0].private_subnet_name == "container"
    error_message = "Expected clusters in the subnets given."
  }
}

run "endpoint_can_be_closed" {
  command = plan
  variables {
    cloud = { public_endpoint = false }
  }
  assert {
    condition     = !azurerm_databricks_workspace.spark.public_network_access_enabled
    error_message = "Expected no answer to public addresses."
  }
}

run "hardened_is_monitored" {
  command = plan
  variables {
    hardened = true
  }
  assert {
    condition     = azurerm_databricks_workspace.spark.enhanced_security_compliance[0].enhanced_security_monitoring_enabled
    error_message = "Expected monitored machines."
  }
}

run "costs_nothing_unasked" {
  command = plan
  assert {
    condition     = length(azurerm_databricks_workspace.spark.enhanced_security_compliance) == 0
    error_message = "Expected no compliance add-on by default."
  }
}

run "a_network_without_its_subnets_is_refused" {
  command = plan
  variables {
    network = { id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/providers/Microsoft.Network/virtualNetworks/shop" }
  }
  expect_failures = [azurerm_databricks_workspace.spark]
}

run "a_name_that_azure_refuses_is_refused" {
  command = plan
  variables {
    name = "shop spark"
  }
  expect_failures = [var.name]
}
