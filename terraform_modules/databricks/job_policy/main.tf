locals {
  # A policy and a scope have names of their own in a workspace, and a root may call this module for several kinds of runs.
  on = (
    var.job_id != null ? "job-${coalesce(var.job_id, 0)}" :
    var.cluster_id != null ? "cluster-${coalesce(var.cluster_id, "-")}" :
    var.new_cluster != null ? "clusters-${substr(sha1(jsonencode(var.new_cluster)), 0, 8)}" : "serverless"
  )
  project = [for key in ["glacier-project", "glacier-env"] : var.labels[key] if contains(keys(var.labels), key)]
  name    = coalesce(var.name, join("-", concat(["glacier"], local.project, [local.on])))

  identity   = length(var.submitters) > 0 ? null : var.identity == null ? databricks_service_principal.runs[0].application_id : var.identity
  submitters = { for name, each in databricks_service_principal.submitter : name => each.application_id }
  identities = length(var.submitters) > 0 ? local.submitters : { runs = local.identity }

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
  count = var.identity == null && length(var.submitters) == 0 ? 1 : 0

  display_name         = local.name
  allow_cluster_create = false # only by the policy
}

# They log in by Azure's tokens.
resource "databricks_service_principal" "submitter" {
  for_each = var.submitters

  application_id       = each.value.identity
  display_name         = "${local.name}-${each.key}"
  allow_cluster_create = false # only by the policy
}

resource "databricks_cluster_policy" "runs" {
  count = var.new_cluster == null ? 0 : 1

  name       = local.name
  definition = jsonencode(local.definition)
}

resource "databricks_permissions" "policy" {
  count = var.new_cluster == null ? 0 : 1

  cluster_policy_id = databricks_cluster_policy.runs[0].id
  dynamic "access_control" {
    for_each = local.identities

    content {
      service_principal_name = access_control.value
      permission_level       = "CAN_USE"
    }
  }
}

resource "databricks_permissions" "job" {
  count = var.exclusive && var.job_id != null ? 1 : 0

  job_id = var.job_id
  dynamic "access_control" {
    for_each = local.identities

    content {
      service_principal_name = access_control.value
      permission_level       = "CAN_MANAGE_RUN"
    }
  }
}

resource "databricks_permissions" "cluster" {
  count = var.exclusive && var.cluster_id != null ? 1 : 0

  cluster_id = var.cluster_id
  dynamic "access_control" {
    for_each = local.identities

    content {
      service_principal_name = access_control.value
      permission_level       = "CAN_RESTART" # a run starts a cluster that is off
    }
  }
}

# Values are put in by people.
resource "databricks_secret_scope" "runs" {
  name = local.name

  lifecycle {
    precondition {
      condition     = length([for each in [var.job_id, var.cluster_id, var.new_cluster] : each if each != null]) <= 1
      error_message = "Runs are of a job, on a cluster, or on clusters of their own: give one of job_id, cluster_id and new_cluster, or none of them for serverless compute."
    }
    precondition {
      condition     = can(regex("^[A-Za-z0-9_.@-]{1,128}$", local.name))
      error_message = "Databricks takes for a secret scope 1 to 128 letters, digits and _ . @ -. The name is made of labels: give another as name."
    }
  }
}

resource "databricks_secret_acl" "runs" {
  for_each = local.identities

  scope      = databricks_secret_scope.runs.name
  principal  = each.value
  permission = "READ"
}
