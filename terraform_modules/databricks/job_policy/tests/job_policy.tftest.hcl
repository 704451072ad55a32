mock_provider "databricks" {
  mock_resource "databricks_service_principal" {
    defaults = { application_id = "00000000-0000-0000-0000-000000000001" }
  }
}

variables {
  new_cluster = {
    spark_version = "15.4.x-scala2.12"
    node_type_id  = "m6gd.large"
    autoscale     = { min_workers = 1, max_workers = 4 }
  }
  labels = { glacier-project = "shop", glacier-env = "prod" }
}

run "clusters_are_fixed_as_they_are_given" {
  command = plan
  assert {
    condition = jsondecode(databricks_cluster_policy.runs[0].definition) == {
      cluster_type                  = { type = "fixed", value = "job" }
      spark_version                 = { type = "fixed", value = "15.4.x-scala2.12" }
      node_type_id                  = { type = "fixed", value = "m6gd.large" }
      "autoscale.min_workers"       = { type = "fixed", value = 1 }
      "autoscale.max_workers"       = { type = "range", maxValue = 4 }
      "custom_tags.glacier-project" = { type = "fixed", value = "shop" }
      "custom_tags.glacier-env"     = { type = "fixed", value = "prod" }
    }
    error_message = "Expected what is given, the tags, and nothing else."
  }
}

run "the_principal_starts_clusters_by_the_policy_only" {
  command = plan
  assert {
    condition     = !databricks_service_principal.runs[0].allow_cluster_create
    error_message = "Expected no right to create clusters at large."
  }
}

run "the_principal_may_use_the_policy" {
  assert {
    condition     = [for each in databricks_permissions.policy[0].access_control : "${each.service_principal_name} ${each.permission_level}"] == ["00000000-0000-0000-0000-000000000001 CAN_USE"]
    error_message = "Expected CAN_USE for the principal and nobody else."
  }
}

run "the_principal_reads_its_scope_and_does_not_write_it" {
  assert {
    condition     = databricks_secret_acl.runs["runs"].permission == "READ" && databricks_secret_acl.runs["runs"].principal == output.identity
    error_message = "Expected READ for the principal."
  }
}

run "names_are_made_of_labels_and_of_what_runs_are_on" {
  command = plan
  variables {
    new_cluster = null
    job_id      = 1234
  }
  assert {
    condition     = output.name == "glacier-shop-prod-job-1234"
    error_message = "Expected the project, the environment and the job."
  }
}

run "different_clusters_have_different_names" {
  command = plan
  assert {
    condition     = can(regex("^glacier-shop-prod-clusters-[0-9a-f]{8}$", output.name))
    error_message = "Expected a sum of what the clusters are like in the name."
  }
}

run "serverless_runs_have_no_policy" {
  command = plan
  variables {
    new_cluster = null
  }
  assert {
    condition     = length(databricks_cluster_policy.runs) == 0 && output.policy_id == null && output.name == "glacier-shop-prod-serverless"
    error_message = "Expected no cluster policy."
  }
}

run "rights_of_others_on_a_job_stay" {
  command = plan
  variables {
    new_cluster = null
    job_id      = 1234
  }
  assert {
    condition     = length(databricks_permissions.job) == 0
    error_message = "Expected the job's rights to be left alone."
  }
}

run "rights_on_a_job_are_set_if_asked_for" {
  command = plan
  variables {
    new_cluster = null
    job_id      = 1234
    exclusive   = true
    identity    = "me"
  }
  assert {
    condition     = one(databricks_permissions.job[0].access_control).permission_level == "CAN_MANAGE_RUN"
    error_message = "Expected the right to start and stop runs."
  }
}

run "rights_on_a_cluster_are_set_if_asked_for" {
  command = plan
  variables {
    new_cluster = null
    cluster_id  = "0923-164208-meows279"
    exclusive   = true
    identity    = "me"
  }
  assert {
    condition     = one(databricks_permissions.cluster[0].access_control).permission_level == "CAN_RESTART"
    error_message = "Expected the right to attach and to start."
  }
}

run "a_principal_that_exists_is_used" {
  command = plan
  variables {
    identity = "me"
  }
  assert {
    condition     = length(databricks_service_principal.runs) == 0 && output.identity == "me"
    error_message = "Expected no principal to be made."
  }
}

run "two_places_for_runs_are_refused" {
  command = plan
  variables {
    job_id = 1234
  }
  expect_failures = [databricks_secret_scope.runs]
}

run "workers_are_a_number_or_a_range" {
  command = plan
  variables {
    new_cluster = { num_workers = 2, autoscale = { min_workers = 1, max_workers = 4 } }
  }
  expect_failures = [var.new_cluster]
}

run "exclusive_without_a_job_or_a_cluster_is_refused" {
  command = plan
  variables {
    exclusive = true
  }
  expect_failures = [var.exclusive]
}

run "a_name_that_databricks_refuses_is_refused" {
  command = plan
  variables {
    name = "Größe"
  }
  expect_failures = [var.name]
}

run "labels_that_make_such_a_name_are_refused" {
  command = plan
  variables {
    labels = { glacier-project = "my shop" }
  }
  expect_failures = [databricks_secret_scope.runs]
}

run "identities_of_azure_become_principals_and_no_other_is_made" {
  variables {
    submitters = { daily = { identity = "00000000-0000-0000-0000-000000000002" } }
  }
  assert {
    condition     = databricks_service_principal.submitter["daily"].application_id == "00000000-0000-0000-0000-000000000002" && length(databricks_service_principal.runs) == 0
    error_message = "Expected a principal with the identity's application id, and no other."
  }
}

run "all_who_submit_may_use_the_policy_and_read_the_scope" {
  variables {
    submitters = {
      daily  = { identity = "00000000-0000-0000-0000-000000000002" }
      hourly = { identity = "00000000-0000-0000-0000-000000000003" }
    }
  }
  assert {
    condition     = toset([for each in databricks_permissions.policy[0].access_control : each.service_principal_name]) == toset(values(output.identities)) && keys(databricks_secret_acl.runs) == ["daily", "hourly"]
    error_message = "Expected both in the rights of the policy, and both as readers."
  }
}
