# A worker pool of Cloud Run, since a Prefect worker answers no requests: it asks the server for runs.
resource "google_cloud_run_v2_worker_pool" "worker" {
  count    = var.worker == "service" ? 1 : 0
  project  = var.location.project
  location = var.location.region
  name     = "${trim("w-${substr(local.slug, 0, 38)}", "-")}-${substr(sha256(var.name), 0, 8)}" # at most 49 characters
  labels   = local.labels

  deletion_protection = false  # it holds nothing
  launch_stage        = "BETA" # which older releases of Cloud Run ask for, and newer ones take

  dynamic "binary_authorization" {
    for_each = var.hardened ? [1] : []
    content {
      use_default = true
    }
  }

  scaling {
    scaling_mode          = "MANUAL"
    manual_instance_count = 1
  }

  template {
    service_account = local.worker_email
    labels          = local.labels

    containers {
      image   = var.cloud.worker_image
      command = ["prefect"]
      args    = ["worker", "start", "--pool", var.name, "--type", "cloud-run-v2", "--install-policy", "if-not-present"]

      env {
        name  = "PREFECT_API_URL"
        value = var.server.api_url
      }

      dynamic "env" {
        for_each = local.server_secrets
        content {
          name = { api_key = "PREFECT_API_KEY", auth_string = "PREFECT_API_AUTH_STRING" }[env.key]
          value_source {
            secret_key_ref {
              secret  = env.value
              version = "latest"
            }
          }
        }
      }

      resources {
        limits = { cpu = "1", memory = "1Gi" }
      }
    }

    dynamic "vpc_access" {
      for_each = var.network == null ? [] : [var.network]
      content {
        egress = "PRIVATE_RANGES_ONLY"
        network_interfaces {
          network    = vpc_access.value.id
          subnetwork = sort(vpc_access.value.subnets)[0]
        }
      }
    }
  }

  lifecycle {
    precondition {
      condition     = !endswith(var.type, ":push")
      error_message = "The runs of a push pool are started by Prefect Cloud: it has no worker."
    }
    precondition {
      condition     = var.server.api_url != null
      error_message = "A worker has to know its server: set server.api_url."
    }
    precondition {
      condition     = startswith(local.worker, "serviceAccount:")
      error_message = "A worker in Cloud Run runs as a service account: cloud.worker_identity is as in serviceAccount:worker@my-project.iam.gserviceaccount.com."
    }
  }

  # It stops at once if it may not read its key, or start what it finds.
  depends_on = [google_secret_manager_secret_iam_member.server, google_project_iam_member.worker, google_service_account_iam_member.acts_as]
}
