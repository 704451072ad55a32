data "aws_partition" "here" {}

data "aws_caller_identity" "here" {}

data "aws_region" "here" {
  region = var.location.region
}

locals {
  partition = data.aws_partition.here.partition
  account   = data.aws_caller_identity.here.account_id
  region    = data.aws_region.here.region
  in_region = "${local.region}:${local.account}"

  # IAM takes 64 letters, digits, - and _: what is changed or cut for that is told apart by a hash.
  base  = replace(var.name, "/[^A-Za-z0-9_-]/", "-")
  slugs = { for name in keys(var.pipelines) : name => replace(name, "/[^A-Za-z0-9_-]/", "-") }
  roles = {
    for name, slug in local.slugs : name => slug == name && length("${local.base}-spark-${name}") <= 64 ? "${local.base}-spark-${name}" : "${substr("${local.base}-spark-${slug}", 0, 55)}-${substr(sha256(name), 0, 8)}"
  }
  role_arns = { for name, role in local.roles : name => "arn:${local.partition}:iam::${local.account}:role/${role}" }
  archive   = var.cloud.archive == null ? [] : ["arn:${local.partition}:s3:::${trimprefix(var.cloud.archive, "s3://")}"]

  # Of a tag AWS takes letters, digits, spaces and _.:/=+-@.
  tags = { for name in keys(var.pipelines) : name => merge(var.labels, { glacier-pipeline = replace(name, "/[^\\p{L}\\p{N} _.:/=+@-]/", "-") }) }
}

# Nothing is kept ready: what is not used costs nothing.
resource "aws_emrserverless_application" "spark" {
  name          = var.name
  region        = var.location.region
  type          = "spark"
  release_label = var.cloud.release
  architecture  = var.cloud.architecture
  tags          = var.labels

  auto_start_configuration {
    enabled = true
  }
  auto_stop_configuration {
    enabled              = true
    idle_timeout_minutes = var.cloud.idle_minutes
  }
  maximum_capacity {
    cpu    = "${var.cloud.max_vcpu} vCPU"
    memory = "${var.cloud.max_memory_gb} GB"
    disk   = "${var.cloud.max_disk_gb} GB"
  }

  dynamic "network_configuration" {
    for_each = var.network[*]

    content {
      subnet_ids         = network_configuration.value.subnets
      security_group_ids = network_configuration.value.security_groups
    }
  }

  lifecycle {
    precondition {
      condition     = length(setsubtract(keys(var.submitters), keys(var.pipelines))) == 0
      error_message = "submitters has a name that is not in pipelines: who submits passes the role of one pipeline's jobs."
    }
  }
}
