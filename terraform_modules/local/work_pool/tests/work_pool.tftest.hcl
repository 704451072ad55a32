variables {
  name = "glacier-demo-dev-pool"
}

run "a_name_is_all_that_is_needed" {
  command = plan
  assert {
    condition     = output.name == "glacier-demo-dev-pool" && output.type == "process"
    error_message = "Expected a pool of processes under the name given."
  }
}

run "holds_no_data" {
  command = plan
  assert {
    condition     = !can(terraform_data.work_pool.input.holds_data)
    error_message = "Expected that a work pool can be destroyed without a question."
  }
}

run "variables_reach_every_run" {
  command = plan
  variables {
    env = { GLACIER_ENV = "dev" }
  }
  assert {
    condition     = output.job_variables.env["GLACIER_ENV"] == "dev"
    error_message = "Expected env in the job variables."
  }
}

run "every_pipeline_has_its_job_variables" {
  command = plan
  variables {
    pipelines = { daily = { reads = { raw = ["orders/"] } }, hourly = {} }
  }
  assert {
    condition     = join(" ", keys(output.pipeline_job_variables)) == "daily hourly"
    error_message = "Expected one entry for each pipeline."
  }
}

run "another_type_is_refused" {
  command = plan
  variables {
    type = "docker"
  }
  expect_failures = [var.type]
}

run "a_worker_is_refused" {
  command = plan
  variables {
    worker = "service"
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
