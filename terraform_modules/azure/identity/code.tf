# The code of runs, which a deployment brings: archives in the containers, and images. Of containers nothing else.
locals {
  writes = ["${local.blobs}/write", "${local.blobs}/add/action", "${local.blobs}/delete"]
  code = {
    archives = contains(var.kinds, "bucket") ? {
      role      = "${local.roles_id}/${uuidv5("url", "${local.group_id}/${var.name}/archives")}"
      condition = <<-EOT
        (
         (
          !(ActionMatches{'${local.blobs}/read'} AND SubOperationMatches{'Blob.List'})
         )
         OR
         (
          @Request[${local.blobs}:prefix] StringLike '*.glacier/code/*'
         )
        )
        AND
        (
         (
          !(ActionMatches{'${local.blobs}/read'} AND NOT SubOperationMatches{'Blob.List'})
          AND
          ${join("\n  AND\n  ", [for action in local.writes : "!(ActionMatches{'${action}'})"])}
         )
         OR
         (
          @Resource[${local.blobs}:path] StringLike '*.glacier/code/*'
         )
        )
      EOT
    } : null
    images = contains(var.kinds, "registry") ? {
      role      = "${local.roles_id}/8311e382-0749-4cb8-b61a-304f252e45ec" # AcrPush
      condition = null
    } : null
  }
}

resource "azurerm_role_definition" "archives" {
  count              = local.code.archives == null ? 0 : 1
  name               = "glacier ${var.location.resource_group}/${var.name} archives"
  description        = "Brings archives of code, and removes them."
  role_definition_id = uuidv5("url", "${local.group_id}/${var.name}/archives")
  scope              = local.group_id
  assignable_scopes  = [local.group_id]

  permissions {
    data_actions = concat(["${local.blobs}/read"], local.writes)
  }
}

resource "azurerm_role_assignment" "code" {
  for_each           = { for what, each in local.code : what => each if each != null }
  name               = uuidv5("url", "${local.group_id}/${var.name}/code/${each.key}")
  scope              = local.group_id
  role_definition_id = each.value.role
  principal_id       = azurerm_user_assigned_identity.github["deploy"].principal_id
  principal_type     = "ServicePrincipal"
  description        = "glacier: ${each.key} of the code of ${var.repository}"
  condition          = each.value.condition
  condition_version  = each.value.condition == null ? null : "2.0"
  depends_on         = [azurerm_role_definition.archives]
}
