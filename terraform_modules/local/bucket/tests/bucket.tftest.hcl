variables {
  name = "my-data"
}

run "a_name_is_all_that_is_needed" {
  command = plan
  assert {
    condition     = endswith(output.path, "/data/my-data") && startswith(output.path, "/")
    error_message = "Expected the folder my-data in the folder data, as an absolute path."
  }
}

run "says_that_it_holds_data" {
  command = plan
  assert {
    condition     = terraform_data.bucket.input.holds_data
    error_message = "Expected holds_data = true, by which Glacier knows what not to destroy unasked."
  }
}

run "keeps_data_unless_told" {
  command = plan
  assert {
    condition     = !terraform_data.bucket.input.allow_data_loss
    error_message = "Expected allow_data_loss = false by default."
  }
}

run "address_is_escaped" {
  command = plan
  variables {
    name     = "it's 100% \"raw\""
    location = { base_path = "/some where/" }
  }
  assert {
    condition     = output.uri == "file:///some%20where/it%27s%20100%25%20%22raw%22"
    error_message = "Expected the address that Python's Path.as_uri gives."
  }
}

run "another_folder_is_another_bucket" {
  command = plan
  variables {
    location = { base_path = "elsewhere" }
  }
  assert {
    condition     = terraform_data.bucket.triggers_replace.path == "elsewhere/my-data"
    error_message = "Expected the path to trigger a replacement."
  }
}

run "grants_are_handed_on" {
  command = plan
  variables {
    readers = { daily = { prefixes = ["orders/"] } }
  }
  assert {
    condition     = output.readers["daily"].prefixes == toset(["orders/"]) && length(output.writers) == 0
    error_message = "Expected the readers as given and no writers."
  }
}

run "a_whole_bucket_is_granted_by_default" {
  command = plan
  variables {
    writers = { daily = {} }
  }
  assert {
    condition     = output.writers["daily"].prefixes == toset([""])
    error_message = "Expected the empty prefix."
  }
}

run "a_name_with_a_slash_is_refused" {
  command = plan
  variables {
    name = "../my-data"
  }
  expect_failures = [var.name]
}

run "the_parent_folder_is_not_a_name" {
  command = plan
  variables {
    name = ".."
  }
  expect_failures = [var.name]
}

run "an_empty_base_path_is_refused" {
  command = plan
  variables {
    location = { base_path = "" }
  }
  expect_failures = [var.location]
}
