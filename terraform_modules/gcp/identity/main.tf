locals {
  labels      = join(", ", [for key, value in var.labels : "${key}=${value}"])
  description = substr("Glacier: ${var.name}${local.labels == "" ? "" : " (${local.labels})"}", 0, 256)

  # Ids have at most 32 characters; the hash keeps what was cut off apart.
  base    = length(var.prefix) <= 22 ? var.prefix : "${trim(substr(var.prefix, 0, 13), "-")}-${substr(sha256(var.prefix), 0, 8)}"
  role_id = replace(var.prefix, "-", "_")

  project         = coalesce(var.cloud.project, var.location.project)
  number          = var.cloud.project_number == null ? data.google_project.target[0].number : var.cloud.project_number
  identity_number = local.project == var.location.project ? local.number : (var.cloud.identity_project_number == null ? data.google_project.identity[0].number : var.cloud.identity_project_number)

  domain = "${join(".", reverse(split(":", local.project)))}.iam.gserviceaccount.com"
  emails = { for use in ["plan", "deploy"] : use => "${local.base}-${use}@${local.domain}" }

  pool     = "projects/${local.identity_number}/locations/global/workloadIdentityPools/${local.base}-github"
  provider = "${local.pool}/providers/github"

  # A branch is trusted for what happens on it: a pull_request_target runs on it, too, with what somebody else has sent.
  on_branch      = "assertion.ref == \"refs/heads/${var.branch}\" && assertion.event_name in [\"push\", \"workflow_dispatch\", \"schedule\"]"
  in_environment = "assertion.sub == \"repo:${var.repository}:environment:${coalesce(var.github_environment, "-")}\""
  may_deploy     = var.github_environment == null ? local.on_branch : local.in_environment

  kinds     = merge({ for kind in var.kinds : kind => local.table[kind] }, var.hardened ? { keys = local.keys } : {})
  looked_at = toset(concat(["resourcemanager.projects.get", "resourcemanager.projects.getIamPolicy", "iam.roles.get"], flatten([for kind in local.kinds : kind.looked_at])))
  made      = toset(concat(flatten([for kind in local.kinds : kind.made]), var.cloud.account_policies ? ["iam.serviceAccounts.actAs", "iam.serviceAccounts.setIamPolicy"] : []))
  granted   = sort(toset(flatten([for kind in local.kinds : kind.granted])))
  parts     = toset(flatten([for kind in local.kinds : kind.named]))

  roles = merge(
    { plan = local.looked_at, state_read = ["storage.objects.get", "storage.objects.list"] },
    { state_write = ["storage.objects.create", "storage.objects.delete", "storage.objects.get", "storage.objects.list"] },
    length(local.made) > 0 ? { deploy = local.made } : {},
    length(local.granted) > 0 ? { grants = ["resourcemanager.projects.setIamPolicy"] } : {},
    { for part in local.parts : "plan_${part}" => local.named[part].read },
    { for part in local.parts : "deploy_${part}" => concat(local.named[part].read, local.named[part].change) },
    { for use, role in local.given : use => role.permissions if contains(var.kinds, role.kind) },
  )
  state_objects = "projects/_/buckets/${var.state}/objects/"
  state = merge(
    { plan = { use = "plan", role = "state_read", limit = null } },
    { deploy = { use = "deploy", role = "state_write", limit = one([for each in var.cloud.kept[*] : { title = "not what a person keeps", when = "!resource.name.startsWith(${jsonencode("${local.state_objects}${each}")})" }]) } },
    { for _ in var.cloud.kept[*] : "deploy_reads" => { use = "deploy", role = "state_read", limit = null } },
    { for name in ["plan_previews"] : name => { use = "plan", role = "state_write", limit = { title = "only previews", when = "resource.name.startsWith(${jsonencode("${local.state_objects}${var.cloud.state_prefix}preview/")})" } } if var.previews },
  )
  role_names = { for use in keys(local.roles) : use => "projects/${var.location.project}/roles/${local.role_id}_${use}" }

  bindings = merge(
    { for use in ["plan", "deploy"] : "${use}/looks" => { use = use, role = "plan", when = null } },
    length(local.made) > 0 ? { "deploy/makes" = { use = "deploy", role = "deploy", when = null } } : {},
    length(local.granted) > 0 ? { "deploy/grants" = {
      use  = "deploy"
      role = "grants"
      when = "api.getAttribute(\"iam.googleapis.com/modifiedGrantsByRole\", []).hasOnly(${jsonencode([for use in local.granted : local.role_names[use]])})"
    } } : {},
    merge([for part in local.parts : merge([
      for index, names in local.named[part].names : {
        for use in ["plan", "deploy"] : "${use}/${part}/${index}" => { use = use, role = "${use}_${part}", when = names }
      }
    ]...)]...),
  )
}

data "google_project" "target" {
  count      = var.cloud.project_number == null ? 1 : 0
  project_id = var.location.project
}

data "google_project" "identity" {
  count      = local.project != var.location.project && var.cloud.identity_project_number == null ? 1 : 0
  project_id = local.project
}

resource "google_iam_workload_identity_pool" "github" {
  project                   = local.project
  workload_identity_pool_id = "${local.base}-github"
  display_name              = substr(local.base, 0, 32)
  description               = local.description

  lifecycle {
    precondition {
      condition     = !var.cloud.account_policies || local.project != var.location.project
      error_message = "cloud.account_policies needs cloud.project, another project than location.project: in the same one deploy could say who may become deploy."
    }
  }
}

resource "google_iam_workload_identity_pool_provider" "github" {
  #checkov:skip=CKV_GCP_125:it wants one value of assertion.sub, which is of one branch; here any branch may plan, and who may deploy is mapped below
  project                            = local.project
  workload_identity_pool_id          = google_iam_workload_identity_pool.github.workload_identity_pool_id
  workload_identity_pool_provider_id = "github"
  display_name                       = "GitHub Actions"
  description                        = local.description

  # All else that GitHub signs is refused.
  attribute_condition = join(" && ", concat(
    ["assertion.repository == \"${var.repository}\""],
    var.cloud.repository_id == null ? [] : ["assertion.repository_id == \"${var.cloud.repository_id}\""],
  ))
  attribute_mapping = {
    "google.subject"       = "assertion.sub"
    "attribute.repository" = "assertion.repository"
    "attribute.may"        = "(${local.may_deploy}) ? \"deploy\" : \"plan\""
  }

  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }
}

resource "google_service_account" "account" {
  for_each     = local.emails
  project      = local.project
  account_id   = "${local.base}-${each.key}"
  display_name = substr("${each.key} of ${var.name}", 0, 100)
  description  = local.description
}

# Any branch and any pull request of the repository may plan.
resource "google_service_account_iam_member" "plan" {
  service_account_id = "projects/${local.project}/serviceAccounts/${local.emails["plan"]}"
  role               = "roles/iam.workloadIdentityUser"
  member             = "principalSet://iam.googleapis.com/${local.pool}/attribute.repository/${var.repository}"
  depends_on         = [google_service_account.account, google_iam_workload_identity_pool.github]
}

resource "google_service_account_iam_member" "deploy" {
  service_account_id = "projects/${local.project}/serviceAccounts/${local.emails["deploy"]}"
  role               = "roles/iam.workloadIdentityUser"
  member             = "principalSet://iam.googleapis.com/${local.pool}/attribute.may/deploy"
  depends_on         = [google_service_account.account, google_iam_workload_identity_pool.github]
}

resource "google_project_iam_custom_role" "role" {
  for_each    = local.roles
  project     = var.location.project
  role_id     = "${local.role_id}_${each.key}"
  title       = substr("Glacier: ${each.key} of ${var.prefix}", 0, 100)
  description = local.description
  permissions = each.value
}

resource "google_project_iam_member" "account" {
  for_each = local.bindings
  project  = var.location.project
  role     = local.role_names[each.value.role]
  member   = "serviceAccount:${local.emails[each.value.use]}"

  dynamic "condition" {
    for_each = each.value.when == null ? [] : [each.value.when]
    content {
      title       = replace(each.key, "/", " ")
      description = "Set by Glacier."
      expression  = condition.value
    }
  }

  depends_on = [google_project_iam_custom_role.role, google_service_account.account]
}

resource "google_storage_bucket_iam_member" "state" {
  for_each = local.state
  bucket   = var.state
  role     = local.role_names[each.value.role]
  member   = "serviceAccount:${local.emails[each.value.use]}"

  dynamic "condition" {
    for_each = each.value.limit[*]
    content {
      title       = condition.value.title
      description = "Set by Glacier."
      expression  = condition.value.when
    }
  }

  depends_on = [google_project_iam_custom_role.role, google_service_account.account]
}
