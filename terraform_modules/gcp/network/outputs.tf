# Known in the plan already; who uses one still waits for the network and its rules.

output "id" {
  description = "Id of the network."
  value       = var.existing == null ? local.id : var.existing.id
  depends_on  = [google_compute_network.network, google_compute_firewall.deny_ingress]
}

output "subnets" {
  description = "Ids of its private subnets."
  value       = var.existing == null ? toset([local.subnet]) : var.existing.subnets
  depends_on  = [google_compute_subnetwork.private, google_compute_firewall.deny_ingress, google_compute_router_nat.public]
}

output "security_groups" {
  description = "None: in Google Cloud the rules are the network's."
  value       = toset([])
}
