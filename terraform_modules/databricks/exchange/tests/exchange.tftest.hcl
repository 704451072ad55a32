mock_provider "databricks" {}

variables {
  volume = "/Volumes/main/default/exchange"
  users  = { daily = { identity = "00000000-0000-0000-0000-000000000001" } }
}

run "the_volume_is_the_one_that_is_named" {
  command = plan
  assert {
    condition     = join(".", [databricks_volume.exchange[0].catalog_name, databricks_volume.exchange[0].schema_name, databricks_volume.exchange[0].name]) == "main.default.exchange"
    error_message = "Expected catalog, schema and name of the path."
  }
}

run "databricks_manages_its_files" {
  command = plan
  assert {
    condition     = databricks_volume.exchange[0].volume_type == "MANAGED" && length(databricks_external_location.exchange) == 0
    error_message = "Expected a managed volume."
  }
}

run "files_can_be_in_a_bucket" {
  command = plan
  variables {
    storage = { url = "s3://shop-exchange/databricks", credential = "shop" }
  }
  assert {
    condition     = databricks_volume.exchange[0].volume_type == "EXTERNAL" && databricks_volume.exchange[0].storage_location == "s3://shop-exchange/databricks"
    error_message = "Expected an external volume in the folder that is named."
  }
}

run "a_location_with_files_is_not_removed" {
  command = plan
  variables {
    storage = { url = "s3://shop-exchange/databricks", credential = "shop" }
  }
  assert {
    condition     = !databricks_external_location.exchange[0].force_destroy
    error_message = "Expected no force."
  }
}

run "a_user_reads_and_writes_the_volume" {
  command = plan
  assert {
    condition     = databricks_grant.volume["daily"].volume == "main.default.exchange" && databricks_grant.volume["daily"].privileges == toset(["READ_VOLUME", "WRITE_VOLUME"])
    error_message = "Expected reading and writing, and nothing else."
  }
}

run "a_user_gets_to_the_volume_and_sees_nothing_beside_it" {
  command = plan
  assert {
    condition     = databricks_grant.catalog["daily"].privileges == toset(["USE_CATALOG"]) && databricks_grant.schema["daily"].privileges == toset(["USE_SCHEMA"])
    error_message = "Expected USE_CATALOG and USE_SCHEMA alone."
  }
}

run "nobody_else_gets_anything" {
  command = plan
  variables {
    users = {}
  }
  assert {
    condition     = length(databricks_grant.catalog) + length(databricks_grant.schema) + length(databricks_grant.volume) == 0
    error_message = "Expected no grants."
  }
}

run "a_volume_that_exists_is_left_alone" {
  command = plan
  variables {
    existing = true
  }
  assert {
    condition     = length(databricks_volume.exchange) == 0 && length(databricks_grant.volume) == 1
    error_message = "Expected rights only."
  }
}

run "labels_stand_in_the_comment" {
  command = plan
  variables {
    labels = { glacier-project = "shop", glacier-env = "prod" }
  }
  assert {
    condition     = endswith(databricks_volume.exchange[0].comment, "glacier-env=prod, glacier-project=shop")
    error_message = "Expected the labels."
  }
}

run "a_path_that_is_no_volume_is_refused" {
  command = plan
  variables {
    volume = "/Volumes/main/exchange"
  }
  expect_failures = [var.volume]
}

run "a_name_that_databricks_would_change_is_refused" {
  command = plan
  variables {
    volume = "/Volumes/Main/default/exchange"
  }
  expect_failures = [var.volume]
}

run "a_folder_that_is_in_no_bucket_is_refused" {
  command = plan
  variables {
    storage = { url = "exchange/shop", credential = "shop" }
  }
  expect_failures = [var.storage]
}
