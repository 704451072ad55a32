mock_provider "google" {}

variables {
  name     = "glacier-acme-prod"
  location = { project = "acme-prod", region = "europe-west1" }
}

run "settings_are_those_of_the_executor" {
  command = plan
  assert {
    condition     = output.settings == { service = "dataproc-serverless", project_id = "acme-prod", region = "europe-west1" }
    error_message = "Expected service, project and region, as SparkExecutor takes them."
  }
}

run "jobs_run_in_the_network" {
  command = plan
  variables {
    network = { id = "projects/acme-prod/global/networks/acme", subnets = ["projects/acme-prod/regions/europe-west1/subnetworks/acme"] }
  }
  assert {
    condition     = output.settings.subnetwork == "projects/acme-prod/regions/europe-west1/subnetworks/acme"
    error_message = "Expected the subnet."
  }
}

run "jobs_have_their_packages" {
  command = plan
  variables {
    cloud = { container_image = "europe-west1-docker.pkg.dev/acme-prod/images/spark:1" }
  }
  assert {
    condition     = output.settings.container_image == "europe-west1-docker.pkg.dev/acme-prod/images/spark:1"
    error_message = "Expected the image."
  }
}

run "each_pipelines_jobs_run_as_themselves" {
  command = plan
  variables {
    pipelines = { daily = {}, hourly = {} }
  }
  assert {
    condition     = output.identities["daily"] != output.identities["hourly"] && output.pipeline_settings["daily"].service_account == trimprefix(output.identities["daily"], "serviceAccount:")
    error_message = "Expected a service account for each pipeline."
  }
}

run "ids_are_as_google_takes_them" {
  command = plan
  variables {
    name       = "Ü1 a very long name of what is made, longer than any account"
    pipelines  = { "A very long name of a pipeline, with what Google refuses" = {}, "ß" = {} }
    submitters = { somebody = { identity = "group:data@example.com" } }
  }
  assert {
    condition     = alltrue([for each in google_service_account.job : can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", each.account_id))]) && alltrue([for each in google_project_iam_custom_role.use : can(regex("^[a-zA-Z0-9_.]{3,64}$", each.role_id))])
    error_message = "Expected ids of accounts and roles that Google takes."
  }
}

run "jobs_have_no_rights_on_objects_in_the_project" {
  command = plan
  variables {
    pipelines = { daily = { reads = { raw = ["orders/"] } } }
  }
  assert {
    condition     = !anytrue([for each in google_project_iam_custom_role.use["run"].permissions : startswith(each, "storage.")]) && length(google_project_iam_member.run["daily"].condition) == 0
    error_message = "Expected that buckets grant what a job may read and write."
  }
}

run "jobs_get_at_the_buckets_of_dataproc" {
  command = plan
  variables {
    pipelines = { daily = {} }
  }
  assert {
    condition     = google_project_iam_member.staging["daily"].condition[0].expression == "resource.name.startsWith(\"projects/_/buckets/dataproc-staging-europe-west1-\") || resource.name.startsWith(\"projects/_/buckets/dataproc-temp-europe-west1-\")"
    error_message = "Expected a condition on the names of Dataproc's own buckets."
  }
}

run "nobody_submits_by_default" {
  command = plan
  variables {
    pipelines = { daily = {} }
  }
  assert {
    condition     = length(google_project_iam_member.submit) + length(google_service_account_iam_member.acts_as) == 0
    error_message = "Expected no submitters."
  }
}

run "a_submitter_may_submit_watch_and_cancel" {
  command = plan
  variables {
    submitters = { daily = { identity = "serviceAccount:daily@acme-prod.iam.gserviceaccount.com" } }
  }
  assert {
    condition     = google_project_iam_custom_role.use["submit"].permissions == toset(["dataproc.batches.cancel", "dataproc.batches.create", "dataproc.batches.get", "dataproc.operations.cancel"])
    error_message = "Expected the calls that SparkExecutor makes."
  }
}

run "a_pipeline_submits_its_own_jobs_only" {
  command = plan
  variables {
    pipelines  = { daily = {}, hourly = {} }
    submitters = { daily = { identity = "serviceAccount:daily@acme-prod.iam.gserviceaccount.com" } }
  }
  assert {
    condition     = keys(google_service_account_iam_member.acts_as) == ["daily/daily"]
    error_message = "Expected that daily does not act as hourly."
  }
}

run "another_submits_jobs_of_all" {
  command = plan
  variables {
    pipelines  = { daily = {}, hourly = {} }
    submitters = { data = { identity = "group:data@example.com" } }
  }
  assert {
    condition     = keys(google_service_account_iam_member.acts_as) == ["data/daily", "data/hourly"]
    error_message = "Expected that it acts as both."
  }
}

run "roles_made_elsewhere_are_used" {
  command = plan
  variables {
    pipelines = { daily = {} }
    cloud     = { roles = { run = "projects/acme-prod/roles/r", staging = "projects/acme-prod/roles/s" } }
  }
  assert {
    condition     = google_project_iam_member.run["daily"].role == "projects/acme-prod/roles/r" && google_project_iam_member.staging["daily"].role == "projects/acme-prod/roles/s" && length(google_project_iam_custom_role.use) == 0
    error_message = "Expected the roles given, and none made."
  }
}

run "labels_are_in_the_description" {
  command = plan
  variables {
    pipelines = { daily = {} }
    labels    = { glacier-project = "shop" }
  }
  assert {
    condition     = strcontains(google_service_account.job["daily"].description, "glacier-project=shop")
    error_message = "Expected the label in the description."
  }
}

run "a_name_of_nothing_is_refused" {
  command = plan
  variables { name = " " }
  expect_failures = [var.name]
}

run "a_network_without_subnets_is_refused" {
  command = plan
  variables {
    network = { id = "projects/acme-prod/global/networks/acme", subnets = [] }
  }
  expect_failures = [var.network]
}
