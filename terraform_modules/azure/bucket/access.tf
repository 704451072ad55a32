# Who reads and writes what: roles without any right to manage the container, limited to prefixes by conditions.

locals {
  blobs = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"

  # Azure's own roles for blobs may delete the container too, so these are used.
  actions = {
    read  = ["${local.blobs}/read"] # lists too
    write = ["${local.blobs}/read", "${local.blobs}/write", "${local.blobs}/add/action", "${local.blobs}/delete"]
  }
  roles_id = "${regex("^/subscriptions/[^/]+", local.role_group)}/providers/Microsoft.Authorization/roleDefinitions"
  role_ids = {
    for verb, actions in local.actions : verb => try(
      coalesce(var.cloud.roles[verb]),
      "${local.roles_id}/${uuidv5("url", "${var.cloud.shared_roles ? "${local.role_group}/glacier" : local.id}/${verb}")}"
    )
  }

  grants = merge(
    { for name, each in var.readers : "read/${name}" => merge(each, { verb = "read" }) if each.identity != null && length(each.prefixes) > 0 },
    { for name, each in var.writers : "write/${name}" => merge(each, { verb = "write" }) if each.identity != null && length(each.prefixes) > 0 },
  )
  verbs = toset([for each in values(local.grants) : each.verb if !var.cloud.shared_roles && try(var.cloud.roles[each.verb], null) == null])

  limited = { for key, each in local.grants : key => sort(each.prefixes) if !contains(each.prefixes, "") }
  listed  = { for key, prefixes in local.limited : key => join("\n  OR\n  ", [for each in prefixes : "@Request[${local.blobs}:prefix] StringStartsWith '${each}'"]) }
  named   = { for key, prefixes in local.limited : key => join("\n  OR\n  ", [for each in prefixes : "@Resource[${local.blobs}:path] StringStartsWith '${each}'"]) }

  reading = {
    for key in keys(local.limited) : key => <<-EOT
      (
       (
        !(ActionMatches{'${local.blobs}/read'} AND SubOperationMatches{'Blob.List'})
       )
       OR
       (
        ${local.listed[key]}
       )
      )
      AND
      (
       (
        !(ActionMatches{'${local.blobs}/read'} AND NOT SubOperationMatches{'Blob.List'})
       )
       OR
       (
        ${local.named[key]}
       )
      )
    EOT
  }
  writing = {
    for key in keys(local.limited) : key => <<-EOT
      AND
      (
       (
        !(ActionMatches{'${local.blobs}/write'})
        AND
        !(ActionMatches{'${local.blobs}/add/action'})
        AND
        !(ActionMatches{'${local.blobs}/delete'})
       )
       OR
       (
        ${local.named[key]}
       )
      )
    EOT
  }
  conditions = {
    for key, each in local.grants : key =>
    contains(each.prefixes, "") ? null : each.verb == "read" ? local.reading[key] : "${local.reading[key]}${local.writing[key]}"
  }
}

resource "azurerm_role_definition" "access" {
  for_each           = local.verbs
  name               = "glacier ${local.account}/${var.name} ${each.key}"
  description        = "Objects of the container ${var.name}: ${each.key}, without any right to manage it."
  role_definition_id = uuidv5("url", "${local.id}/${each.key}")
  scope              = local.role_group
  assignable_scopes  = [local.role_group]

  permissions {
    data_actions = local.actions[each.key]
  }
}

resource "azurerm_role_assignment" "access" {
  for_each           = local.grants
  name               = uuidv5("url", "${local.id}/${each.key}")
  scope              = local.id
  role_definition_id = local.role_ids[each.value.verb]
  principal_id       = each.value.identity
  principal_type     = var.cloud.principal_type
  description        = "glacier: ${each.key}"
  condition          = local.conditions[each.key]
  condition_version  = local.conditions[each.key] == null ? null : "2.0"

  lifecycle {
    precondition {
      condition     = length(coalesce(local.conditions[each.key], "none")) <= 8192
      error_message = "Azure takes a condition of at most 8 KB: ${each.key} names too many or too long prefixes; grant a common one."
    }
  }

  depends_on = [azurerm_storage_container.bucket, azurerm_role_definition.access]
}
