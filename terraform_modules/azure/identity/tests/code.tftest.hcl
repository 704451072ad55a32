mock_provider "azurerm" {
  mock_data "azurerm_client_config" {
    defaults = { subscription_id = "00000000-0000-0000-0000-000000000001", tenant_id = "00000000-0000-0000-0000-000000000002" }
  }
}

variables {
  name       = "shop"
  repository = "acme/shop"
  location   = { region = "westeurope", resource_group = "shop" }
  kinds      = ["bucket", "registry"]
}

run "who_deploys_writes_archives_of_code_and_no_other_blob" {
  command = plan
  assert {
    condition     = length(regexall("StringLike '\\*\\.glacier/code/\\*'", azurerm_role_assignment.code["archives"].condition)) == 2 && azurerm_role_assignment.code["archives"].condition_version == "2.0"
    error_message = "Expected listing and all else to be limited to archives."
  }
}

run "who_deploys_pushes_images" {
  command = plan
  assert {
    condition     = endswith(azurerm_role_assignment.code["images"].role_definition_id, "/8311e382-0749-4cb8-b61a-304f252e45ec")
    error_message = "Expected AcrPush."
  }
}

run "without_buckets_and_registries_it_brings_no_code" {
  command = plan
  variables {
    kinds = ["secrets"]
  }
  assert {
    condition     = length(azurerm_role_assignment.code) + length(azurerm_role_definition.archives) == 0
    error_message = "Expected no role for code."
  }
}
