mock_provider "google" {}

variables {
  name       = "shop"
  prefix     = "glacier-shop-prod"
  repository = "acme/shop"
  state      = "acme-state"
  location   = { project = "acme-data", region = "europe-west1" }
  buckets    = ["acme-raw"]
  kinds      = ["bucket", "registry"]
  cloud      = { project_number = "123456789012" }
}

run "who_deploys_writes_archives_of_code_in_the_projects_buckets" {
  command = plan
  assert {
    condition = alltrue([
      for key, each in google_project_iam_member.code : startswith(each.condition[0].expression, "resource.name.extract(\".glacier/code/{file}\") != \"\" && (resource.name == ") if startswith(key, "archives/")
    ]) && length(google_project_iam_member.code) == 3
    error_message = "Expected a condition on archives and on buckets."
  }
}

run "who_deploys_pushes_images_of_the_project" {
  command = plan
  assert {
    condition     = google_project_iam_member.code["images/0"].role == "roles/artifactregistry.writer" && strcontains(google_project_iam_member.code["images/0"].condition[0].expression, "/repositories/glacier-shop-prod")
    error_message = "Expected the right to push to repositories of the project's prefix."
  }
}

run "without_buckets_and_registries_it_brings_no_code" {
  command = plan
  variables {
    kinds = ["secrets"]
  }
  assert {
    condition     = length(google_project_iam_member.code) + length(google_project_iam_custom_role.archives) == 0
    error_message = "Expected no role for code."
  }
}
