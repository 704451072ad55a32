mock_provider "google" {
  mock_data "google_project" { defaults = { number = "123456789012" } }
}

variables {
  name       = "acme/prod"
  location   = { project = "acme-prod", region = "europe-west1" }
  repository = "acme/shop"
  kinds      = ["bucket", "work_pool", "network", "registry", "secrets", "spark"]
  prefix     = "glacier-shop-prod"
  state      = "acme-prod-state"
}

run "a_workflow_gets_what_it_needs_to_plan" {
  command = plan
  assert {
    condition     = output.plan.service_account == "glacier-shop-prod-plan@acme-prod.iam.gserviceaccount.com" && output.plan.workload_identity_provider == "projects/123456789012/locations/global/workloadIdentityPools/glacier-shop-prod-github/providers/github"
    error_message = "Expected the account of plan, and the provider."
  }
}

run "a_workflow_gets_what_it_needs_to_deploy" {
  command = plan
  assert {
    condition     = output.deploy.service_account == "glacier-shop-prod-deploy@acme-prod.iam.gserviceaccount.com" && output.deploy.workload_identity_provider == output.provider_id
    error_message = "Expected the account of deploy, and the provider."
  }
}

run "there_is_no_boundary" {
  command = plan
  assert {
    condition     = output.boundary == null
    error_message = "Expected null."
  }
}

run "only_github_is_trusted" {
  command = plan
  assert {
    condition     = google_iam_workload_identity_pool_provider.github.oidc[0].issuer_uri == "https://token.actions.githubusercontent.com"
    error_message = "Expected GitHub's issuer."
  }
}

run "only_one_repository_is_trusted" {
  command = plan
  assert {
    condition     = google_iam_workload_identity_pool_provider.github.attribute_condition == "assertion.repository == \"acme/shop\""
    error_message = "Expected all tokens of other repositories to be refused."
  }
}

run "a_repository_that_takes_the_name_is_refused_by_its_number" {
  command = plan
  variables {
    cloud = { repository_id = "42" }
  }
  assert {
    condition     = endswith(google_iam_workload_identity_pool_provider.github.attribute_condition, " && assertion.repository_id == \"42\"")
    error_message = "Expected the number in the condition."
  }
}

run "the_branch_may_deploy_and_no_pull_request_on_it" {
  command = plan
  assert {
    condition     = google_iam_workload_identity_pool_provider.github.attribute_mapping["attribute.may"] == "(assertion.ref == \"refs/heads/main\" && assertion.event_name in [\"push\", \"workflow_dispatch\", \"schedule\"]) ? \"deploy\" : \"plan\""
    error_message = "Expected the branch main, for events that run its own code."
  }
}

run "an_environment_is_trusted_in_place_of_the_branch" {
  command = plan
  variables { github_environment = "production" }
  assert {
    condition     = google_iam_workload_identity_pool_provider.github.attribute_mapping["attribute.may"] == "(assertion.sub == \"repo:acme/shop:environment:production\") ? \"deploy\" : \"plan\""
    error_message = "Expected the environment, and no branch."
  }
}

run "any_ref_may_plan" {
  command = plan
  assert {
    condition     = google_service_account_iam_member.plan.member == "principalSet://iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/glacier-shop-prod-github/attribute.repository/acme/shop"
    error_message = "Expected all of the repository."
  }
}

run "only_who_may_deploy_becomes_deploy" {
  command = plan
  assert {
    condition     = endswith(google_service_account_iam_member.deploy.member, "/attribute.may/deploy") && endswith(google_service_account_iam_member.deploy.service_account_id, "/glacier-shop-prod-deploy@acme-prod.iam.gserviceaccount.com")
    error_message = "Expected the attribute that the provider sets."
  }
}

run "plan_only_looks" {
  command = plan
  assert {
    condition     = alltrue(flatten([for key, role in google_project_iam_custom_role.role : [for each in role.permissions : can(regex("\\.(get|getIamPolicy)$", each))] if startswith(key, "plan")]))
    error_message = "Expected nothing but get and getIamPolicy."
  }
}

run "plan_has_no_other_roles" {
  command = plan
  assert {
    condition     = alltrue([for key, each in google_project_iam_member.account : can(regex("/roles/glacier_shop_prod_plan(_(storage|secrets|registry))?$", each.role)) if endswith(each.member, ":glacier-shop-prod-plan@acme-prod.iam.gserviceaccount.com")])
    error_message = "Expected the roles of plan only."
  }
}

run "plan_reads_the_state_only" {
  command = plan
  assert {
    condition     = google_storage_bucket_iam_member.state["plan"].bucket == "acme-prod-state" && google_storage_bucket_iam_member.state["plan"].role == "projects/acme-prod/roles/glacier_shop_prod_state_read" && google_project_iam_custom_role.role["state_read"].permissions == toset(["storage.objects.get", "storage.objects.list"])
    error_message = "Expected get and list on the state's bucket."
  }
}

run "neither_reads_values_of_secrets" {
  command = plan
  assert {
    condition     = !anytrue(flatten([for role in google_project_iam_custom_role.role : [for each in role.permissions : startswith(each, "secretmanager.versions.")]]))
    error_message = "Expected no rights on versions of secrets."
  }
}

run "policies_are_set_under_a_condition_only" {
  command = plan
  assert {
    condition     = alltrue([for each in google_project_iam_member.account : length(each.condition) == 1 || !anytrue([for permission in google_project_iam_custom_role.role[trimprefix(each.role, "projects/acme-prod/roles/glacier_shop_prod_")].permissions : endswith(permission, ".setIamPolicy")])])
    error_message = "Expected a condition on each role with setIamPolicy."
  }
}

run "deploy_changes_what_has_the_prefix" {
  command = plan
  assert {
    condition     = google_project_iam_member.account["deploy/secrets/0"].condition[0].expression == "(resource.name == \"projects/123456789012/secrets/glacier-shop-prod\" || resource.name.startsWith(\"projects/123456789012/secrets/glacier-shop-prod-\") || resource.name.startsWith(\"projects/123456789012/secrets/glacier-shop-prod/\"))"
    error_message = "Expected the prefix, alone or before a dash."
  }
}

run "the_states_bucket_is_not_among_the_projects" {
  command = plan
  variables {
    state   = "glacier-shop-prod-state"
    buckets = ["glacier-shop-prod-state", "raw"]
  }
  assert {
    condition     = alltrue([for index in [0, 1] : endswith(google_project_iam_member.account["deploy/storage/${index}"].condition[0].expression, " && !resource.name.startsWith(\"projects/_/buckets/glacier-shop-prod-state\")")])
    error_message = "Expected that deploy sets no policy on the state."
  }
}

run "other_buckets_are_named" {
  command = plan
  variables {
    buckets = ["raw", "glacier-shop-prod-out"]
  }
  assert {
    condition     = google_project_iam_member.account["deploy/storage/1"].condition[0].expression == "(resource.name == \"projects/_/buckets/raw\" || resource.name.startsWith(\"projects/_/buckets/raw/\")) && !resource.name.startsWith(\"projects/_/buckets/acme-prod-state\")"
    error_message = "Expected the bucket raw in a condition of its own, and none for what has the prefix."
  }
}

run "other_secrets_are_named" {
  command = plan
  variables {
    kinds = ["secrets"]
    cloud = { project_number = "123456789012", secrets = ["db-password"] }
  }
  assert {
    condition     = google_project_iam_member.account["deploy/secrets/1"].condition[0].expression == "resource.name == \"projects/123456789012/secrets/db-password\" || resource.name.startsWith(\"projects/123456789012/secrets/db-password/\")"
    error_message = "Expected the secret by its name and no other."
  }
}

run "what_a_person_keeps_is_read_only" {
  command = plan
  variables {
    cloud = { project_number = "123456789012", kept = "shop/prod/bootstrap/" }
  }
  assert {
    condition = (
      google_storage_bucket_iam_member.state["deploy"].condition[0].expression == "!resource.name.startsWith(\"projects/_/buckets/${var.state}/objects/shop/prod/bootstrap/\")" &&
      endswith(google_storage_bucket_iam_member.state["deploy_reads"].role, "_state_read")
    )
    error_message = "Expected deploy to write nothing of the bootstrap, and to read it."
  }
}

run "conditions_stay_within_googles_limit" {
  command = plan
  variables {
    buckets = ["b01", "b02", "b03", "b04", "b05", "b06", "b07", "b08", "b09", "b10", "b11"]
  }
  assert {
    condition     = alltrue([for each in google_project_iam_member.account : length(regexall("&&|\\|\\||!", each.condition[0].expression)) <= 12 if length(each.condition) == 1])
    error_message = "Expected at most 12 logical operators in a condition."
  }
}

run "deploy_gives_away_only_the_roles_made_here" {
  command = plan
  assert {
    condition     = google_project_iam_member.account["deploy/grants"].condition[0].expression == "api.getAttribute(\"iam.googleapis.com/modifiedGrantsByRole\", []).hasOnly([\"projects/acme-prod/roles/glacier_shop_prod_spark_run\",\"projects/acme-prod/roles/glacier_shop_prod_spark_staging\",\"projects/acme-prod/roles/glacier_shop_prod_spark_submit\",\"projects/acme-prod/roles/glacier_shop_prod_worker\"])"
    error_message = "Expected the roles of workers and of Spark."
  }
}

run "neither_can_change_what_it_may_or_who_it_is" {
  command = plan
  assert {
    condition     = !anytrue(flatten([for role in google_project_iam_custom_role.role : [for each in role.permissions : can(regex("^iam\\.(roles\\.(create|update|delete|undelete)|serviceAccounts\\.(setIamPolicy|actAs|getAccessToken|signJwt|signBlob|implicitDelegation)|serviceAccountKeys\\.|workloadIdentityPool)", each))]]))
    error_message = "Expected no rights on roles, on policies, tokens and keys of accounts, and on the trust."
  }
}

run "policies_of_accounts_are_set_only_if_its_own_are_elsewhere" {
  command = plan
  variables {
    cloud = { project = "acme-identity", account_policies = true }
  }
  assert {
    condition     = contains(google_project_iam_custom_role.role["deploy"].permissions, "iam.serviceAccounts.setIamPolicy") && google_service_account.account["deploy"].project == "acme-identity" && endswith(output.deploy.service_account, "@acme-identity.iam.gserviceaccount.com")
    error_message = "Expected the right, with the account of deploy in another project."
  }
}

run "deploy_acts_as_no_account_of_its_own_project" {
  command = plan
  assert {
    condition     = !contains(google_project_iam_custom_role.role["deploy"].permissions, "iam.serviceAccounts.actAs")
    error_message = "Expected that deploy runs nothing as another account."
  }
}

run "policies_of_accounts_in_the_same_project_are_refused" {
  command = plan
  variables {
    cloud = { account_policies = true }
  }
  expect_failures = [google_iam_workload_identity_pool.github]
}

run "what_is_not_among_the_kinds_may_not_be_made" {
  command = plan
  variables { kinds = ["bucket"] }
  assert {
    condition     = google_project_iam_custom_role.role["deploy"].permissions == toset(["storage.buckets.create"]) && !contains(keys(google_project_iam_custom_role.role), "grants") && join(" ", keys(output.roles)) == "metadata read write"
    error_message = "Expected rights on buckets only."
  }
}

run "without_kinds_nothing_may_be_made" {
  command = plan
  variables { kinds = [] }
  assert {
    condition     = keys(google_project_iam_custom_role.role) == ["plan", "state_read", "state_write"]
    error_message = "Expected rights on the state only."
  }
}

run "keys_are_made_only_if_hardened" {
  command = plan
  assert {
    condition     = !anytrue(flatten([for role in google_project_iam_custom_role.role : [for each in role.permissions : startswith(each, "cloudkms.")]]))
    error_message = "Expected no rights on keys."
  }
}

run "hardened_modules_may_make_keys" {
  command = plan
  variables { hardened = true }
  assert {
    condition     = contains(google_project_iam_custom_role.role["deploy_keys"].permissions, "cloudkms.cryptoKeys.create") && length(google_project_iam_member.account["deploy/keys/0"].condition) == 1
    error_message = "Expected keys in key rings that have the prefix."
  }
}

run "a_long_prefix_fits_into_ids" {
  command = plan
  variables { prefix = "glacier-a-very-long-name-of-a-project-pr" }
  assert {
    condition     = alltrue([for each in google_service_account.account : can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", each.account_id))]) && length(google_iam_workload_identity_pool.github.workload_identity_pool_id) <= 32 && alltrue([for each in google_project_iam_custom_role.role : length(each.role_id) <= 64])
    error_message = "Expected ids that Google takes."
  }
}

run "a_prefix_that_google_keeps_is_refused" {
  command = plan
  variables { prefix = "gcp-shop" }
  expect_failures = [var.prefix]
}

run "a_repository_without_an_owner_is_refused" {
  command = plan
  variables { repository = "shop" }
  expect_failures = [var.repository]
}

run "a_pattern_of_branches_is_refused" {
  command = plan
  variables { branch = "release/*" }
  expect_failures = [var.branch]
}

run "an_environment_with_a_quote_is_refused" {
  command = plan
  variables { github_environment = "a\" || true || \"" }
  expect_failures = [var.github_environment]
}

run "an_unknown_kind_is_refused" {
  command = plan
  variables { kinds = ["identity"] }
  expect_failures = [var.kinds]
}

run "previews_are_all_that_plan_may_write" {
  command = plan
  variables {
    previews = true
    cloud    = { project_number = "123456789012", state_prefix = "shop/prod/" }
  }
  assert {
    condition = (
      google_storage_bucket_iam_member.state["plan_previews"].condition[0].expression == "resource.name.startsWith(\"projects/_/buckets/acme-prod-state/objects/shop/prod/preview/\")" &&
      google_storage_bucket_iam_member.state["plan_previews"].member == "serviceAccount:glacier-shop-prod-plan@acme-prod.iam.gserviceaccount.com"
    )
    error_message = "Expected plan to write previews beside the state."
  }
}

run "previews_are_not_written_unasked" {
  command = plan
  assert {
    condition     = keys(google_storage_bucket_iam_member.state) == ["deploy", "plan"]
    error_message = "Expected plan to write nothing."
  }
}
