# What the two accounts may do, by kind of module. `read` is for both of them.
#
# looked_at, made: in all of the project, since these have no names by which Google would limit it. None of it sets a policy.
# named:           only on what has the project's prefix. Here, and only here, policies are set.
# granted:         roles that deploy may give away in the project.

locals {
  accounts = {
    looked_at = ["iam.serviceAccounts.get", "iam.serviceAccounts.getIamPolicy"]
    made      = ["iam.serviceAccounts.create", "iam.serviceAccounts.delete", "iam.serviceAccounts.update"]
  }

  table = {
    bucket = {
      looked_at = []
      made      = ["storage.buckets.create"]
      named     = ["storage"]
      granted   = []
    }
    secrets = {
      looked_at = []
      made      = ["secretmanager.secrets.create"]
      named     = ["secrets"]
      granted   = []
    }
    registry = {
      looked_at = ["artifactregistry.repositories.get"]
      made      = ["artifactregistry.repositories.create"]
      named     = ["registry"]
      granted   = []
    }
    network = {
      looked_at = [
        "compute.firewalls.get",
        "compute.globalOperations.get",
        "compute.networks.get",
        "compute.regionOperations.get",
        "compute.routers.get",
        "compute.subnetworks.get",
      ]
      made = [
        "compute.firewalls.create",
        "compute.firewalls.delete",
        "compute.firewalls.update",
        "compute.networks.create",
        "compute.networks.delete",
        "compute.networks.update",
        "compute.networks.updatePolicy",
        "compute.routers.create",
        "compute.routers.delete",
        "compute.routers.update",
        "compute.routers.use",
        "compute.subnetworks.create",
        "compute.subnetworks.delete",
        "compute.subnetworks.setPrivateIpGoogleAccess",
        "compute.subnetworks.update",
        "compute.subnetworks.use",
      ]
      named   = []
      granted = []
    }
    work_pool = {
      looked_at = concat(local.accounts.looked_at, [
        "run.operations.get",
        "run.workerpools.get",
        "vpcaccess.connectors.get",
        "vpcaccess.operations.get",
      ])
      made = concat(local.accounts.made, [
        "run.workerpools.create",
        "run.workerpools.delete",
        "run.workerpools.update",
        "vpcaccess.connectors.create",
        "vpcaccess.connectors.delete",
        "vpcaccess.connectors.update",
      ])
      named   = []
      granted = ["worker"]
    }
    spark = {
      looked_at = local.accounts.looked_at
      made      = local.accounts.made
      named     = []
      granted   = ["spark_run", "spark_staging", "spark_submit"]
    }
  }

  # What hardened modules make besides.
  keys = {
    looked_at = []
    made      = ["cloudkms.keyRings.create"]
    named     = ["keys"]
    granted   = []
  }

  named = {
    storage = {
      read = [
        "storage.buckets.get",
        "storage.buckets.getIamPolicy",
        "storage.managedFolders.get",
        "storage.managedFolders.getIamPolicy",
      ]
      change = [
        "storage.buckets.delete",
        "storage.buckets.setIamPolicy",
        "storage.buckets.update",
        "storage.managedFolders.create",
        "storage.managedFolders.delete",
        "storage.managedFolders.setIamPolicy",
        "storage.objects.delete", # with allow_data_loss, Terraform empties a bucket before it destroys it
        "storage.objects.list",
      ]
      names = [for clause in local.bucket_clauses : "${clause} && !resource.name.startsWith(${jsonencode("projects/_/buckets/${var.state}")})"]
    }
    secrets = {
      read   = ["secretmanager.secrets.get", "secretmanager.secrets.getIamPolicy"]
      change = ["secretmanager.secrets.delete", "secretmanager.secrets.setIamPolicy", "secretmanager.secrets.update"]
      names = concat(
        [format(local.clause, "projects/${local.number}/secrets/${var.prefix}", "projects/${local.number}/secrets/${var.prefix}-", "projects/${local.number}/secrets/${var.prefix}/")],
        [for five in chunklist(sort(var.cloud.secrets), 5) : join(" || ", [for name in five : "resource.name == \"projects/${local.number}/secrets/${name}\" || resource.name.startsWith(\"projects/${local.number}/secrets/${name}/\")"])],
      )
    }
    registry = {
      read   = ["artifactregistry.repositories.getIamPolicy"]
      change = ["artifactregistry.repositories.delete", "artifactregistry.repositories.setIamPolicy", "artifactregistry.repositories.update"]
      names  = [format(local.clause, "${local.place}/repositories/${var.prefix}", "${local.place}/repositories/${var.prefix}-", "${local.place}/repositories/${var.prefix}/")]
    }
    keys = {
      read = ["cloudkms.cryptoKeys.get", "cloudkms.cryptoKeys.getIamPolicy", "cloudkms.keyRings.get"]
      change = [
        "cloudkms.cryptoKeyVersions.destroy",
        "cloudkms.cryptoKeyVersions.list",
        "cloudkms.cryptoKeys.create",
        "cloudkms.cryptoKeys.setIamPolicy",
        "cloudkms.cryptoKeys.update",
      ]
      names = [format(local.clause, "${local.place}/keyRings/${var.prefix}", "${local.place}/keyRings/${var.prefix}-", "${local.place}/keyRings/${var.prefix}/")]
    }
  }

  place  = "projects/${var.location.project}/locations/${var.location.region}"
  clause = "(resource.name == \"%s\" || resource.name.startsWith(\"%s\") || resource.name.startsWith(\"%s\"))"

  # A condition has at most 12 logical operators, so other buckets come five at a time.
  others = [for name in sort(var.buckets) : name if name != var.state && name != var.prefix && !startswith(name, "${var.prefix}-")]
  bucket_clauses = concat(
    [format(local.clause, "projects/_/buckets/${var.prefix}", "projects/_/buckets/${var.prefix}-", "projects/_/buckets/${var.prefix}/")],
    [for five in chunklist(local.others, 5) : "(${join(" || ", [for name in five : "resource.name == \"projects/_/buckets/${name}\" || resource.name.startsWith(\"projects/_/buckets/${name}/\")"])})"],
  )

  # Roles that modules grant, as the modules themselves would make them; made here, since whoever may change a role may change its own.
  given = {
    read     = { kind = "bucket", permissions = ["storage.objects.get", "storage.objects.list"] }
    metadata = { kind = "bucket", permissions = ["storage.buckets.get"] }
    write = {
      kind = "bucket"
      permissions = [
        "storage.multipartUploads.abort",
        "storage.multipartUploads.create",
        "storage.multipartUploads.listParts",
        "storage.objects.create",
        "storage.objects.delete",
        "storage.objects.get",
        "storage.objects.list",
      ]
    }
    worker = {
      kind = "work_pool"
      permissions = [
        "run.executions.delete",
        "run.executions.get",
        "run.executions.list",
        "run.jobs.create",
        "run.jobs.delete",
        "run.jobs.get",
        "run.jobs.run",
      ]
    }
    spark_run = {
      kind = "spark"
      permissions = [
        "dataproc.agents.create",
        "dataproc.agents.delete",
        "dataproc.agents.get",
        "dataproc.agents.list",
        "dataproc.agents.update",
        "dataproc.tasks.lease",
        "dataproc.tasks.listInvalidatedLeases",
        "dataproc.tasks.reportStatus",
        "logging.logEntries.create",
        "monitoring.metricDescriptors.create",
        "monitoring.metricDescriptors.get",
        "monitoring.metricDescriptors.list",
        "monitoring.timeSeries.create",
      ]
    }
    spark_staging = {
      kind = "spark"
      permissions = [
        "storage.buckets.get",
        "storage.objects.create",
        "storage.objects.delete",
        "storage.objects.get",
        "storage.objects.list",
      ]
    }
    spark_submit = {
      kind        = "spark"
      permissions = ["dataproc.batches.cancel", "dataproc.batches.create", "dataproc.batches.get", "dataproc.operations.cancel"]
    }
  }
}
