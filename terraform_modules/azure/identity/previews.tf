# Previews, which pull requests make and remove: what is kept of them beside the state, and what they write to containers.
locals {
  previews = {
    for what, each in {
      state    = var.state == null ? null : { scope = var.state, role = uuidv5("url", "${local.group_id}/${var.name}/state/deploy"), below = "${var.cloud.state_prefix}preview/" }
      archives = contains(var.kinds, "bucket") ? { scope = local.group_id, role = uuidv5("url", "${local.group_id}/${var.name}/archives"), below = ".glacier/preview/" } : null
      } : what => merge(each, {
        condition = <<-EOT
          (
           (
            !(ActionMatches{'${local.blobs}/read'} AND SubOperationMatches{'Blob.List'})
           )
           OR
           (
            @Request[${local.blobs}:prefix] StringStartsWith '${replace(each.below, "'", "''")}'
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
            @Resource[${local.blobs}:path] StringStartsWith '${replace(each.below, "'", "''")}'
           )
          )
        EOT
    }) if var.previews && each != null
  }
}

resource "azurerm_role_assignment" "previews" {
  for_each           = local.previews
  name               = uuidv5("url", "${local.group_id}/${var.name}/previews/${each.key}")
  scope              = each.value.scope
  role_definition_id = "${local.roles_id}/${each.value.role}"
  principal_id       = azurerm_user_assigned_identity.github["plan"].principal_id
  principal_type     = "ServicePrincipal"
  description        = "glacier: ${each.key} of previews of ${var.repository}"
  condition          = each.value.condition
  condition_version  = "2.0"
  depends_on         = [azurerm_role_definition.archives, azurerm_role_definition.state]
}
