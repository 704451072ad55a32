mock_provider "azurerm" {
  mock_data "azurerm_client_config" {
    defaults = { subscription_id = "00000000-0000-0000-0000-000000000001" }
  }
  mock_resource "azurerm_user_assigned_identity" {
    defaults = {
      id           = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/providers/Microsoft.ManagedIdentity/userAssignedIdentities/mocked"
      client_id    = "00000000-0000-0000-0000-00000000000c"
      principal_id = "00000000-0000-0000-0000-00000000000d"
    }
  }
}

variables {
  name     = "glacier-shop-prod-pool"
  location = { region = "westeurope", resource_group = "shop" }
}

run "a_pool_of_container_groups_is_the_default" {
  command = plan
  assert {
    condition     = output.name == "glacier-shop-prod-pool" && output.type == "azure-container-instance"
    error_message = "Expected a pool of container groups under the name given."
  }
}

run "job_variables_are_those_of_the_integration" {
  command = plan
  variables {
    env     = { GLACIER_ENV = "prod" }
    image   = "prefecthq/prefect:3-python3.12"
    network = { subnets = ["/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/providers/Microsoft.Network/virtualNetworks/shop/subnets/runs"] }
  }
  assert {
    condition = jsonencode(output.job_variables) == jsonencode({
      env                 = { GLACIER_ENV = "prod" }
      image               = "prefecthq/prefect:3-python3.12"
      resource_group_name = "shop"
      subnet_ids          = ["/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/providers/Microsoft.Network/virtualNetworks/shop/subnets/runs"]
      subscription_id     = "00000000-0000-0000-0000-000000000001"
    })
    error_message = "Expected what prefect_azure's template calls them."
  }
}

run "every_pipeline_has_an_identity" {
  command = plan
  variables {
    pipelines = { daily = {}, hourly = {} }
  }
  assert {
    condition     = { for name, each in azurerm_user_assigned_identity.pipeline : name => each.name } == { daily = "glacier-shop-prod-pool-daily", hourly = "glacier-shop-prod-pool-hourly" }
    error_message = "Expected one identity for each pipeline."
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
    condition     = length(distinct([for each in azurerm_user_assigned_identity.pipeline : each.name])) == 2 && alltrue([for each in azurerm_user_assigned_identity.pipeline : can(regex("^[0-9A-Za-z][0-9A-Za-z_-]{2,127}$", each.name))])
    error_message = "Expected two names that Azure takes."
  }
}

run "runs_get_the_identity_of_their_pipeline" {
  variables {
    pipelines = { daily = {} }
  }
  assert {
    condition = jsonencode(output.pipeline_job_variables) == jsonencode({ daily = {
      env        = { AZURE_CLIENT_ID = "00000000-0000-0000-0000-00000000000c" }
      identities = ["/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/providers/Microsoft.ManagedIdentity/userAssignedIdentities/glacier-shop-prod-pool-daily"]
    } })
    error_message = "Expected the identity, and its client id in the environment."
  }
}

run "identities_are_object_ids" {
  variables {
    pipelines = { daily = {} }
  }
  assert {
    condition     = output.identities == { daily = "00000000-0000-0000-0000-00000000000d" }
    error_message = "Expected what a role assignment takes."
  }
}

run "images_of_azures_registry_are_pulled_by_the_runs_identity" {
  variables {
    image     = "shop.azurecr.io/flows:1"
    pipelines = { daily = {}, hourly = { image = "prefecthq/prefect:3-latest" } }
  }
  assert {
    condition     = output.pipeline_job_variables["daily"].image_registry.registry_url == "shop.azurecr.io" && !can(output.pipeline_job_variables["hourly"].image_registry)
    error_message = "Expected the registry where it is Azure's, and only there."
  }
}

run "no_worker_no_rights" {
  command = plan
  variables {
    pipelines = { daily = {} }
  }
  assert {
    condition     = length(azurerm_role_assignment.start) + length(azurerm_role_assignment.identity) + length(azurerm_role_definition.start) + length(azurerm_container_group.worker) == 0
    error_message = "Expected nothing for a worker that Terraform does not know of."
  }
}

run "no_worker_no_identity_of_one" {
  command = plan
  assert {
    condition     = output.worker_identity == null
    error_message = "Expected no principal."
  }
}

# -- who starts runs ------------------------------------------------------------------------------------------------

run "a_worker_elsewhere_may_start_runs" {
  command = plan
  variables {
    cloud     = { worker_identity = "00000000-0000-0000-0000-00000000000e" }
    pipelines = { daily = {} }
  }
  assert {
    condition     = azurerm_role_assignment.start[0].principal_id == "00000000-0000-0000-0000-00000000000e" && output.worker_identity == "00000000-0000-0000-0000-00000000000e"
    error_message = "Expected the rights for the principal given."
  }
}

run "starting_runs_is_all_that_a_worker_may_do_in_the_resource_group" {
  command = plan
  variables {
    worker = "service"
    server = { api_url = "https://prefect.example/api" }
  }
  assert {
    condition = azurerm_role_definition.start[0].permissions[0].actions == tolist([
      "Microsoft.ContainerInstance/containerGroups/containers/logs/read",
      "Microsoft.ContainerInstance/containerGroups/delete",
      "Microsoft.ContainerInstance/containerGroups/read",
      "Microsoft.ContainerInstance/containerGroups/stop/action",
      "Microsoft.ContainerInstance/containerGroups/write",
      "Microsoft.ContainerInstance/locations/operations/read",
      "Microsoft.Resources/deployments/operations/read",
      "Microsoft.Resources/deployments/operationstatuses/read",
      "Microsoft.Resources/deployments/read",
      "Microsoft.Resources/deployments/validate/action",
      "Microsoft.Resources/deployments/write",
      "Microsoft.Resources/subscriptions/resourceGroups/read",
    ])
    error_message = "Expected what prefect_azure's worker calls, and no more."
  }
}

run "roles_of_the_resource_group_are_taken" {
  command = plan
  variables {
    worker = "service"
    server = { api_url = "https://prefect.example/api" }
    cloud  = { shared_roles = true }
  }
  assert {
    condition     = length(azurerm_role_definition.start) == 0 && basename(azurerm_role_assignment.start[0].role_definition_id) == uuidv5("url", "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/glacier/start")
    error_message = "Expected the role that the module identity makes."
  }
}

run "a_worker_gives_runs_the_identities_of_the_pool_only" {
  command = plan
  variables {
    worker    = "service"
    server    = { api_url = "https://prefect.example/api" }
    pipelines = { daily = {} }
  }
  assert {
    condition     = [for each in azurerm_role_assignment.identity : each.scope] == ["/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/providers/Microsoft.ManagedIdentity/userAssignedIdentities/glacier-shop-prod-pool-daily"]
    error_message = "Expected Managed Identity Operator on the pipeline's identity alone."
  }
}

run "a_worker_in_a_network_may_join_its_subnet" {
  command = plan
  variables {
    worker  = "service"
    server  = { api_url = "https://prefect.example/api" }
    network = { subnets = ["/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/net/providers/Microsoft.Network/virtualNetworks/shop/subnets/runs"] }
  }
  assert {
    condition     = endswith(azurerm_role_assignment.join[0].scope, "/subnets/runs") && azurerm_role_definition.join[0].assignable_scopes == tolist(["/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/net"])
    error_message = "Expected the right to join this subnet."
  }
}

run "a_worker_of_another_kind_may_start_no_container_group" {
  command = plan
  variables {
    type  = "process"
    cloud = { worker_identity = "00000000-0000-0000-0000-00000000000e" }
  }
  assert {
    condition     = length(azurerm_role_assignment.start) == 0
    error_message = "Expected no right that a worker of processes does not need."
  }
}

# -- the worker -----------------------------------------------------------------------------------------------------

run "a_worker_starts_for_the_pool" {
  command = plan
  variables {
    worker = "service"
    server = { api_url = "https://prefect.example/api" }
  }
  assert {
    condition     = strcontains(azurerm_container_group.worker[0].container[0].commands[3], "\"prefect\", \"worker\", \"start\", \"--pool\", os.environ[\"GLACIER_WORK_POOL\"]") && strcontains(azurerm_container_group.worker[0].container[0].commands[3], "\"--type\", \"azure-container-instance\"")
    error_message = "Expected prefect worker start for the pool and its type."
  }
}

run "a_worker_reads_the_api_key_itself" {
  variables {
    worker = "service"
    server = { api_url = "https://prefect.example/api", api_key_secret = "prefect-api-key" }
    cloud  = { key_vault = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/providers/Microsoft.KeyVault/vaults/shop-secrets" }
  }
  assert {
    condition = jsonencode(azurerm_container_group.worker[0].container[0].environment_variables) == jsonencode({
      AZURE_CLIENT_ID        = "00000000-0000-0000-0000-00000000000c"
      EXTRA_PIP_PACKAGES     = "prefect-azure"
      GLACIER_WORKER_SECRETS = "{\"PREFECT_API_KEY\":\"https://shop-secrets.vault.azure.net/secrets/prefect-api-key?api-version=7.4\"}"
      GLACIER_WORK_POOL      = "glacier-shop-prod-pool"
      PREFECT_API_URL        = "https://prefect.example/api"
    })
    error_message = "Expected the address of the secret and not its value."
  }
}

run "a_worker_may_read_the_api_key_and_no_other_secret" {
  command = plan
  variables {
    worker = "service"
    server = { api_url = "https://prefect.example/api", api_key_secret = "prefect-api-key" }
    cloud  = { key_vault = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/providers/Microsoft.KeyVault/vaults/shop-secrets" }
  }
  assert {
    condition     = [for each in azurerm_role_assignment.secret : each.scope] == ["/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/providers/Microsoft.KeyVault/vaults/shop-secrets/secrets/prefect-api-key"]
    error_message = "Expected Key Vault Secrets User on this secret alone."
  }
}

run "a_worker_has_no_public_address" {
  command = plan
  variables {
    worker = "service"
    server = { api_url = "https://prefect.example/api" }
  }
  assert {
    condition     = azurerm_container_group.worker[0].ip_address_type == "None"
    error_message = "Expected no address."
  }
}

run "logs_are_kept_for_a_time" {
  command = plan
  variables {
    worker = "service"
    server = { api_url = "https://prefect.example/api" }
  }
  assert {
    condition     = azurerm_log_analytics_workspace.worker[0].retention_in_days == 30
    error_message = "Expected thirty days, which cost nothing."
  }
}

run "logs_need_no_key" {
  command = plan
  variables {
    worker = "service"
    server = { api_url = "https://prefect.example/api" }
  }
  assert {
    condition     = !azurerm_log_analytics_workspace.worker[0].local_authentication_enabled && length(azurerm_container_group.worker[0].diagnostics) == 0
    error_message = "Expected a workspace whose keys are off."
  }
}

run "a_worker_without_a_server_is_refused" {
  command = plan
  variables {
    worker = "service"
  }
  expect_failures = [azurerm_container_group.worker]
}

run "a_secret_without_a_vault_is_refused" {
  command = plan
  variables {
    worker = "service"
    server = { api_url = "https://prefect.example/api", api_key_secret = "prefect-api-key" }
  }
  expect_failures = [azurerm_container_group.worker]
}

run "a_worker_of_a_push_pool_is_refused" {
  command = plan
  variables {
    type   = "azure-container-instance:push"
    worker = "service"
    server = { api_url = "https://prefect.example/api" }
  }
  expect_failures = [azurerm_container_group.worker]
}

# -- what is refused ------------------------------------------------------------------------------------------------

run "another_type_is_refused" {
  command = plan
  variables {
    type = "ecs"
  }
  expect_failures = [var.type]
}

run "another_worker_is_refused" {
  command = plan
  variables {
    worker = "yes"
  }
  expect_failures = [var.worker]
}

run "a_name_that_prefect_refuses_is_refused" {
  command = plan
  variables {
    name = "a/b"
  }
  expect_failures = [var.name]
}

run "a_secret_in_the_environment_is_refused" {
  command = plan
  variables {
    env = { PREFECT_API_KEY = "pnu_1" }
  }
  expect_failures = [var.env]
}

run "a_network_without_a_subnet_is_refused" {
  command = plan
  variables {
    network = { subnets = [] }
  }
  expect_failures = [var.network]
}
