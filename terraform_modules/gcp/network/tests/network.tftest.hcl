mock_provider "google" {}

variables {
  name     = "glacier-acme-prod"
  location = { project = "acme-prod", region = "europe-west1" }
}

run "a_name_and_a_place_are_all_that_is_needed" {
  command = plan
  assert {
    condition     = output.id == "projects/acme-prod/global/networks/glacier-acme-prod" && output.subnets == toset(["projects/acme-prod/regions/europe-west1/subnetworks/glacier-acme-prod"])
    error_message = "Expected the ids of one network and one subnet."
  }
}

run "there_are_no_other_subnets" {
  command = plan
  assert {
    condition     = !google_compute_network.network[0].auto_create_subnetworks
    error_message = "Expected a network without Google's automatic subnets."
  }
}

run "googles_services_are_reached_without_a_public_address" {
  command = plan
  assert {
    condition     = google_compute_subnetwork.private[0].private_ip_google_access && google_compute_subnetwork.private[0].ip_cidr_range == "10.42.0.0/22"
    error_message = "Expected Private Google Access in 10.42.0.0/22."
  }
}

run "nobody_gets_in" {
  command = plan
  assert {
    condition     = google_compute_firewall.deny_ingress[0].source_ranges == toset(["0.0.0.0/0"]) && one(google_compute_firewall.deny_ingress[0].deny).protocol == "all" && length(google_compute_firewall.internal) == 0
    error_message = "Expected that all ingress is denied, and none allowed."
  }
}

run "nobody_gets_out_unless_asked_for" {
  command = plan
  assert {
    condition     = length(google_compute_router_nat.public) == 0 && length(google_compute_router.public) == 0
    error_message = "Expected no way out, and no public address."
  }
}

run "a_public_network_gets_out_of_its_subnet" {
  command = plan
  variables { public = true }
  assert {
    condition     = google_compute_router_nat.public[0].source_subnetwork_ip_ranges_to_nat == "LIST_OF_SUBNETWORKS" && one(google_compute_router_nat.public[0].subnetwork).name == one(output.subnets)
    error_message = "Expected address translation for the one subnet."
  }
}

run "a_public_network_lets_nobody_in" {
  command = plan
  variables { public = true }
  assert {
    condition     = length(google_compute_firewall.deny_ingress) == 1 && length(google_compute_firewall.internal) == 0
    error_message = "Expected that all ingress is denied still."
  }
}

run "machines_reach_each_other_if_asked_for" {
  command = plan
  variables {
    cidr  = "10.1.0.0/24"
    cloud = { internal = true }
  }
  assert {
    condition     = google_compute_firewall.internal[0].source_ranges == toset(["10.1.0.0/24"]) && google_compute_firewall.internal[0].priority < google_compute_firewall.deny_ingress[0].priority
    error_message = "Expected ingress from the subnet itself before all is denied."
  }
}

run "a_network_that_is_there_is_handed_on" {
  command = plan
  variables {
    existing = { id = "projects/host/global/networks/shared", subnets = ["projects/host/regions/europe-west1/subnetworks/a"] }
    public   = true
  }
  assert {
    condition     = output.id == "projects/host/global/networks/shared" && output.subnets == toset(["projects/host/regions/europe-west1/subnetworks/a"])
    error_message = "Expected the ids given."
  }
}

run "beside_a_network_that_is_there_nothing_is_made" {
  command = plan
  variables {
    existing = { id = "projects/host/global/networks/shared", subnets = ["projects/host/regions/europe-west1/subnetworks/a"] }
    public   = true
    cloud    = { internal = true }
  }
  assert {
    condition     = length(google_compute_network.network) + length(google_compute_subnetwork.private) + length(google_compute_firewall.deny_ingress) + length(google_compute_firewall.internal) + length(google_compute_router_nat.public) == 0
    error_message = "Expected no resources."
  }
}

run "logs_that_cost_money_are_off" {
  command = plan
  assert {
    condition     = length(google_compute_subnetwork.private[0].log_config) + length(google_compute_firewall.deny_ingress[0].log_config) == 0
    error_message = "Expected no logs of connections."
  }
}

run "hardened_logs_connections" {
  command = plan
  variables { hardened = true }
  assert {
    condition     = length(google_compute_subnetwork.private[0].log_config) == 1 && length(google_compute_firewall.deny_ingress[0].log_config) == 1
    error_message = "Expected logs of connections and of refusals."
  }
}

run "labels_are_in_the_description" {
  command = plan
  variables {
    labels = { glacier-project = "shop" }
  }
  assert {
    condition     = google_compute_network.network[0].description == "Glacier: glacier-project=shop"
    error_message = "Expected the label in the description."
  }
}

run "a_name_that_google_refuses_is_refused" {
  command = plan
  variables { name = "Acme_prod" }
  expect_failures = [var.name]
}

run "a_name_of_digits_is_refused" {
  command = plan
  variables { name = "1-acme" }
  expect_failures = [var.name]
}

run "a_long_name_is_refused" {
  command = plan
  variables { name = "a23456789-123456789-123456789-123456789-123456789-1" }
  expect_failures = [var.name]
}

run "public_addresses_are_refused" {
  command = plan
  variables { cidr = "8.8.8.0/24" }
  expect_failures = [var.cidr]
}

run "a_subnet_smaller_than_google_takes_is_refused" {
  command = plan
  variables { cidr = "10.0.0.0/30" }
  expect_failures = [var.cidr]
}

run "an_existing_network_without_subnets_is_refused" {
  command = plan
  variables {
    existing = { id = "projects/host/global/networks/shared", subnets = [] }
  }
  expect_failures = [var.existing]
}
