locals {
  made        = var.existing == null ? 1 : 0
  labels      = join(", ", [for key, value in var.labels : "${key}=${value}"])
  description = substr(local.labels == "" ? "Glacier" : "Glacier: ${local.labels}", 0, 250)

  id     = "projects/${var.location.project}/global/networks/${var.name}"
  subnet = "projects/${var.location.project}/regions/${var.location.region}/subnetworks/${var.name}"
}

resource "google_compute_network" "network" {
  count                   = local.made
  project                 = var.location.project
  name                    = var.name
  description             = local.description
  auto_create_subnetworks = false
  routing_mode            = "REGIONAL"
}

# Machines in it have no public address and reach Google's services nevertheless.
resource "google_compute_subnetwork" "private" {
  count                    = local.made
  project                  = var.location.project
  region                   = var.location.region
  name                     = var.name
  description              = local.description
  network                  = google_compute_network.network[0].id
  ip_cidr_range            = var.cidr
  stack_type               = "IPV4_ONLY"
  private_ip_google_access = true

  dynamic "log_config" {
    for_each = var.hardened ? [1] : []
    content {
      aggregation_interval = "INTERVAL_10_MIN"
      flow_sampling        = 0.5
      metadata             = "INCLUDE_ALL_METADATA"
    }
  }
}

# Google refuses what no rule lets in; written out, nobody has to know, and it can be logged.
resource "google_compute_firewall" "deny_ingress" {
  count         = local.made
  project       = var.location.project
  name          = "${var.name}-deny-ingress"
  description   = local.description
  network       = google_compute_network.network[0].id
  direction     = "INGRESS"
  priority      = 65534
  source_ranges = ["0.0.0.0/0"]

  deny {
    protocol = "all"
  }

  dynamic "log_config" {
    for_each = var.hardened ? [1] : []
    content {
      metadata = "INCLUDE_ALL_METADATA"
    }
  }
}

resource "google_compute_firewall" "internal" {
  count         = local.made == 1 && var.cloud.internal ? 1 : 0
  project       = var.location.project
  name          = "${var.name}-internal"
  description   = local.description
  network       = google_compute_network.network[0].id
  direction     = "INGRESS"
  priority      = 65000
  source_ranges = [var.cidr]

  allow {
    protocol = "tcp"
  }
  allow {
    protocol = "udp"
  }
  allow {
    protocol = "icmp"
  }
}

resource "google_compute_router" "public" {
  count       = local.made == 1 && var.public ? 1 : 0
  project     = var.location.project
  region      = var.location.region
  name        = var.name
  description = local.description
  network     = google_compute_network.network[0].id
}

resource "google_compute_router_nat" "public" {
  count                              = local.made == 1 && var.public ? 1 : 0
  project                            = var.location.project
  region                             = var.location.region
  name                               = var.name
  router                             = google_compute_router.public[0].name
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "LIST_OF_SUBNETWORKS"

  subnetwork {
    name                    = local.subnet
    source_ip_ranges_to_nat = ["ALL_IP_RANGES"]
  }

  log_config {
    enable = var.hardened
    filter = "ERRORS_ONLY"
  }

  depends_on = [google_compute_subnetwork.private]
}
