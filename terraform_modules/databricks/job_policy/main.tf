locals {
  # A policy and a scope have names of their own in a workspace, and a root may call this module for several kinds of runs.
  on = (
    var.job_id != null ? "job-${coalesce(var.job_id, 0)}" :
    var.cluster_id != null ? "cluster-${coalesce(var.cluster_id, "-")}" :
    var.new_cluster != null ? "clusters-${substr(sha1(jsonencode(var.new_cluster)), 0, 8)}" : "serverless"
  )
  project = [for key in ["glacier-project", "glacier-env"] : var.labels[key] if contains(keys(var.labels), key)]
  name    = coalesce(var.name, join("-", concat(["glacier"], local.project, [local.on])))

  identity = var.identity == null ? databricks_service_principal.runs[0].application_id : var.identity

  # Without a policy none of these is used.
  fixed = {
    cluster_type            = "job"
    spark_version           = try(var.new_cluster.spark_version, null)
    node_type_id            = try(var.new_cluster.node_type_id, null)
    instance_pool_id        = try(var.new_cluster.instance_pool_id, null)
    num_workers             = try(var.new_cluster.num_workers, null)
    "autoscale.min_workers" = try(var.new_cluster.autoscale.min_workers, null)
    data_security_mode      = try(var.new_cluster.data_security_mode, null)
  }
  definition = merge(
    { for key, value in local.fixed : key => { type = "fixed", value = value } if value != null },
    { for key, value in var.labels : "custom_tags.${key}" => { type = "fixed", value = value } },
    try(var.new_cluster.autoscale.max_workers, null) == null ? {} : {
      "autoscale.max_workers" = { type = "range", maxValue = var.new_cluster.autoscale.max_workers }
    },
  )
}

# Without a secret: whoever submits exchanges a token of its cloud or of its CI, or a person makes one.
resource "databricks_service_principal" "runs" {
  count = var.identity == null ? 1 : 0

  display_name         = local.name
  allow_cluster_create = false # only by the policy

  lifecycle {
    precondition {
      condition     = length([for each in [var.job_id, var.cluster_id, var.new_cluster] : each if each != null]) <= 1
      error_message = "Runs are of a job, on a cluster, or on clusters of their own: give one of job_id, cluster_id and new_cluster, or none of them for serverless compute."
    }
  }
}

resource "databricks_cluster_policy" "runs" {
  count = var.new_cluster == null ? 0 : 1

  name       = local.name
  definition = jsonencode(local.definition)
}

resource "databricks_permissions" "policy" {
  count = var.new_cluster == null ? 0 : 1

  cluster_policy_id = databricks_cluster_policy.runs[0].id
  access_control {
    service_principal_name = local.identity
    permission_level       = "CAN_USE"
  }
}

resource "databricks_permissions" "job" {
  count = var.exclusive && var.job_id != null ? 1 : 0

  job_id = var.job_id
  access_control {
    service_principal_name = local.identity
    permission_level       = "CAN_MANAGE_RUN"
  }
}

resource "databricks_permissions" "cluster" {
  count = var.exclusive && var.cluster_id != null ? 1 : 0

  cluster_id = var.cluster_id
  access_control {
    service_principal_name = local.identity
    permission_level       = "CAN_RESTART" # a run starts a cluster that is off
  }
}

# Values are put in by people.
resource "databricks_secret_scope" "runs" {
  name = local.name

  lifecycle {
    precondition {
      condition     = can(regex("^[A-Za-z0-9_.@-]{1,128}$", local.name))
      error_message = "Databricks takes for a secret scope 1 to 128 letters, digits and _ . @ -. The name is made of labels: give another as name."
    }
  }
}

resource "databricks_secret_acl" "runs" {
  scope      = databricks_secret_scope.runs.name
  principal  = local.identity
  permission = "READ"
}
