mock_provider "google" {}

variables {
  name     = "glacier-acme-prod-pool"
  location = { project = "acme-prod", region = "europe-west1" }
}

run "a_name_and_a_place_are_all_that_is_needed" {
  command = plan
  assert {
    condition     = output.name == "glacier-acme-prod-pool" && output.type == "cloud-run-v2"
    error_message = "Expected a pool of Cloud Run jobs under the name given."
  }
}

run "job_variables_say_where_runs_are" {
  command = plan
  assert {
    condition     = output.job_variables.region == "europe-west1" && output.job_variables.credentials.project == "acme-prod"
    error_message = "Expected region and project."
  }
}

run "variables_reach_every_run" {
  command = plan
  variables {
    env    = { GLACIER_ENV = "prod" }
    server = { api_url = "https://prefect.example.com/api" }
  }
  assert {
    condition     = output.job_variables.env == tomap({ PREFECT_API_URL = "https://prefect.example.com/api", GLACIER_ENV = "prod" })
    error_message = "Expected env and the server's address in the job variables."
  }
}

run "secrets_reach_runs_by_name" {
  command = plan
  variables {
    server = { api_key_secret = "prefect-api-key" }
  }
  assert {
    condition     = output.job_variables.prefect_api_key_secret == { secret = "prefect-api-key", version = "latest" }
    error_message = "Expected the name of the API key's secret in prefect_api_key_secret."
  }
}

run "each_pipeline_runs_as_itself" {
  command = plan
  variables {
    pipelines = { daily = { reads = { raw = ["orders/"] } }, hourly = {} }
  }
  assert {
    condition     = output.identities["daily"] != output.identities["hourly"] && output.pipeline_job_variables["daily"].service_account_name == trimprefix(output.identities["daily"], "serviceAccount:")
    error_message = "Expected a service account for each pipeline, in its job variables and its identity."
  }
}

run "an_account_is_named_after_its_pipeline" {
  command = plan
  variables {
    pipelines = { daily = {} }
  }
  assert {
    condition     = google_service_account.run["daily"].account_id == "run-daily-${substr(sha256("glacier-acme-prod-pool/daily"), 0, 8)}"
    error_message = "Expected run-daily- and a hash of pool and pipeline."
  }
}

run "ids_of_accounts_are_as_google_takes_them" {
  command = plan
  variables {
    name      = "Ü1 a very long name of a work pool, longer than any account"
    pipelines = { "A very long name of a pipeline, with what Google refuses" = {}, "a" = {}, "ß" = {}, "1-st" = {} }
  }
  assert {
    condition     = alltrue([for id in concat([for each in google_service_account.run : each.account_id], [google_service_account.worker[0].account_id]) : can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", id))])
    error_message = "Expected 6 to 30 small letters, digits and -."
  }
}

run "names_that_are_cut_alike_stay_apart" {
  command = plan
  variables {
    pipelines = { "a-pipeline-of-many-orders" = {}, "a-pipeline-of-many-customers" = {}, "A-pipeline-of-many-orders" = {} }
  }
  assert {
    condition     = length(toset(values(output.identities))) == 3
    error_message = "Expected three accounts."
  }
}

run "a_project_of_a_domain_has_its_accounts_there" {
  command = plan
  variables {
    location  = { project = "example.com:shop", region = "europe-west1" }
    pipelines = { daily = {} }
  }
  assert {
    condition     = endswith(output.identities["daily"], "@shop.example.com.iam.gserviceaccount.com")
    error_message = "Expected the domain after the project."
  }
}

run "the_worker_may_start_runs_and_nothing_else" {
  command = plan
  assert {
    condition     = google_project_iam_custom_role.worker[0].permissions == toset(["run.executions.delete", "run.executions.get", "run.executions.list", "run.jobs.create", "run.jobs.delete", "run.jobs.get", "run.jobs.run"])
    error_message = "Expected the calls that Prefect's worker makes."
  }
}

run "the_worker_has_one_role_in_the_project" {
  command = plan
  assert {
    condition     = google_project_iam_member.worker.role == "projects/acme-prod/roles/${google_project_iam_custom_role.worker[0].role_id}" && google_project_iam_member.worker.member == output.worker_identity
    error_message = "Expected the custom role."
  }
}

run "the_worker_acts_as_the_accounts_of_its_pipelines_only" {
  command = plan
  variables {
    pipelines = { daily = {}, hourly = {} }
  }
  assert {
    condition     = toset([for each in google_service_account_iam_member.acts_as : each.service_account_id]) == toset([for each in output.identities : "projects/acme-prod/serviceAccounts/${trimprefix(each, "serviceAccount:")}"]) && alltrue([for each in google_service_account_iam_member.acts_as : each.member == output.worker_identity])
    error_message = "Expected a grant on each of the two accounts."
  }
}

run "runs_have_no_rights_in_the_project" {
  command = plan
  variables {
    pipelines = { daily = { reads = { raw = ["orders/"] }, secrets = ["db"] } }
  }
  assert {
    condition     = length(google_secret_manager_secret_iam_member.server) == 0
    error_message = "Expected that buckets and secrets grant what a run may."
  }
}

run "runs_read_the_key_of_the_server" {
  command = plan
  variables {
    pipelines = { daily = {} }
    server    = { api_key_secret = "prefect-api-key" }
  }
  assert {
    condition     = keys(google_secret_manager_secret_iam_member.server) == ["api_key/run/daily"] && google_secret_manager_secret_iam_member.server["api_key/run/daily"].secret_id == "prefect-api-key"
    error_message = "Expected one grant, on the secret."
  }
}

run "without_a_worker_none_is_run" {
  command = plan
  assert {
    condition     = length(google_cloud_run_v2_worker_pool.worker) == 0
    error_message = "Expected no worker, which would cost money."
  }
}

run "a_worker_starts_its_pool" {
  command = plan
  variables {
    worker = "service"
    server = { api_url = "https://prefect.example.com/api", api_key_secret = "prefect-api-key" }
  }
  assert {
    condition     = join(" ", concat(google_cloud_run_v2_worker_pool.worker[0].template[0].containers[0].command, google_cloud_run_v2_worker_pool.worker[0].template[0].containers[0].args)) == "prefect worker start --pool glacier-acme-prod-pool --type cloud-run-v2 --install-policy if-not-present"
    error_message = "Expected prefect worker start with the pool and its type."
  }
}

run "a_worker_gets_its_key_from_the_secret_store" {
  command = plan
  variables {
    worker = "service"
    server = { api_url = "https://prefect.example.com/api", api_key_secret = "prefect-api-key" }
  }
  assert {
    condition     = one([for each in google_cloud_run_v2_worker_pool.worker[0].template[0].containers[0].env : each.value_source[0].secret_key_ref[0].secret if each.name == "PREFECT_API_KEY"]) == "prefect-api-key" && contains(keys(google_secret_manager_secret_iam_member.server), "api_key/worker")
    error_message = "Expected the key as a reference, and the right to read it."
  }
}

run "a_worker_runs_as_the_account_that_starts_runs" {
  command = plan
  variables {
    worker = "service"
    server = { api_url = "https://prefect.example.com/api" }
  }
  assert {
    condition     = "serviceAccount:${google_cloud_run_v2_worker_pool.worker[0].template[0].service_account}" == output.worker_identity
    error_message = "Expected the worker's own account."
  }
}

run "a_worker_has_a_name_that_cloud_run_takes" {
  command = plan
  variables {
    name   = "Ü1 a very long name of a work pool, longer than any account"
    worker = "service"
    server = { api_url = "https://prefect.example.com/api" }
  }
  assert {
    condition     = can(regex("^[a-z][a-z0-9-]{0,47}[a-z0-9]$", google_cloud_run_v2_worker_pool.worker[0].name))
    error_message = "Expected fewer than 50 small letters, digits and -."
  }
}

run "another_principal_can_start_runs" {
  command = plan
  variables {
    cloud = { worker_identity = "serviceAccount:worker@elsewhere.iam.gserviceaccount.com" }
  }
  assert {
    condition     = output.worker_identity == "serviceAccount:worker@elsewhere.iam.gserviceaccount.com" && length(google_service_account.worker) == 0
    error_message = "Expected the principal given, and no account made."
  }
}

run "a_role_made_elsewhere_is_used" {
  command = plan
  variables {
    cloud = { worker_role = "projects/acme-prod/roles/glacier_shop_prod_worker" }
  }
  assert {
    condition     = google_project_iam_member.worker.role == "projects/acme-prod/roles/glacier_shop_prod_worker" && length(google_project_iam_custom_role.worker) == 0
    error_message = "Expected the role given, and none made."
  }
}

run "without_a_network_there_is_no_connector" {
  command = plan
  assert {
    condition     = length(google_vpc_access_connector.runs) == 0 && !can(output.job_variables.vpc_connector_name)
    error_message = "Expected no connector, which would cost money."
  }
}

run "runs_get_into_a_network_by_a_connector" {
  command = plan
  variables {
    network = { id = "projects/acme-prod/global/networks/acme", subnets = ["projects/acme-prod/regions/europe-west1/subnetworks/acme"] }
  }
  assert {
    condition     = output.job_variables.vpc_connector_name == "projects/acme-prod/locations/europe-west1/connectors/${google_vpc_access_connector.runs[0].name}" && google_vpc_access_connector.runs[0].network == "acme"
    error_message = "Expected a connector to the network in the job variables."
  }
}

run "a_connector_that_is_there_is_used" {
  command = plan
  variables {
    network = { id = "projects/acme-prod/global/networks/acme", subnets = ["projects/acme-prod/regions/europe-west1/subnetworks/acme"] }
    cloud   = { connector = "projects/acme-prod/locations/europe-west1/connectors/c" }
  }
  assert {
    condition     = output.job_variables.vpc_connector_name == "projects/acme-prod/locations/europe-west1/connectors/c" && length(google_vpc_access_connector.runs) == 0
    error_message = "Expected the connector given, and none made."
  }
}

run "a_worker_is_in_the_network" {
  command = plan
  variables {
    worker  = "service"
    server  = { api_url = "https://prefect.example.com/api" }
    network = { id = "projects/acme-prod/global/networks/acme", subnets = ["projects/acme-prod/regions/europe-west1/subnetworks/acme"] }
  }
  assert {
    condition     = google_cloud_run_v2_worker_pool.worker[0].template[0].vpc_access[0].network_interfaces[0].subnetwork == "projects/acme-prod/regions/europe-west1/subnetworks/acme"
    error_message = "Expected the worker in the subnet."
  }
}

run "images_and_labels_are_by_pipeline" {
  command = plan
  variables {
    image     = "europe-west1-docker.pkg.dev/acme-prod/images/shop:1"
    labels    = { glacier-project = "Shop" }
    pipelines = { Daily = { image = "europe-west1-docker.pkg.dev/acme-prod/images/daily:1" } }
  }
  assert {
    condition     = output.pipeline_job_variables["Daily"].image == "europe-west1-docker.pkg.dev/acme-prod/images/daily:1" && output.pipeline_job_variables["Daily"].labels == { glacier-project = "shop", glacier-pipeline = "daily" } && output.job_variables.image == "europe-west1-docker.pkg.dev/acme-prod/images/shop:1"
    error_message = "Expected the pipeline's own image and label."
  }
}

run "hardened_runs_only_images_that_are_let_in" {
  command = plan
  variables {
    hardened = true
    worker   = "service"
    server   = { api_url = "https://prefect.example.com/api" }
  }
  assert {
    condition     = google_cloud_run_v2_worker_pool.worker[0].binary_authorization[0].use_default
    error_message = "Expected the project's policy of Binary Authorization."
  }
}

run "another_type_is_refused" {
  command = plan
  variables { type = "ecs" }
  expect_failures = [var.type]
}

run "a_worker_of_a_push_pool_is_refused" {
  command = plan
  variables {
    type   = "cloud-run-v2:push"
    worker = "service"
    server = { api_url = "https://api.prefect.cloud/api" }
  }
  expect_failures = [google_cloud_run_v2_worker_pool.worker]
}

run "a_worker_without_a_server_is_refused" {
  command = plan
  variables { worker = "service" }
  expect_failures = [google_cloud_run_v2_worker_pool.worker]
}

run "a_name_that_prefect_refuses_is_refused" {
  command = plan
  variables { name = "a/b" }
  expect_failures = [var.name]
}

run "a_connector_of_another_size_is_refused" {
  command = plan
  variables {
    cloud = { connector_cidr = "10.42.4.0/24" }
  }
  expect_failures = [var.cloud]
}

run "a_worker_that_is_no_service_account_is_refused" {
  command = plan
  variables {
    worker = "service"
    server = { api_url = "https://prefect.example.com/api" }
    cloud  = { worker_identity = "group:data@example.com" }
  }
  expect_failures = [google_cloud_run_v2_worker_pool.worker]
}

run "another_kind_of_worker_is_refused" {
  command = plan
  variables { worker = "vm" }
  expect_failures = [var.worker]
}
