locals {
  default_days = { exchange = 7, old_versions = 30, uploads = 2 }

  # Glacier's own folders are at the root of a container, and beside what is written.
  folders  = setunion([""], flatten([for writer in values(var.writers) : [for each in writer.prefixes : each if endswith(each, "/") && each != local.previews]]))
  previews = ".glacier/preview/"
  # Azure takes letters and digits in the name of a rule.
  rules_of = merge({
    exchange    = { days = var.lifecycle_days.exchange, current = true, below = [".glacier/cache/", ".glacier/exchange/"] }
    uploads     = { days = var.lifecycle_days.uploads, current = true, below = [".glacier/writes/"] }
    oldVersions = { days = var.lifecycle_days.old_versions, current = false, below = [""] }
    }, anytrue([for writer in values(var.writers) : contains(writer.prefixes, local.previews)]) ? {
    previews = { days = var.lifecycle_days.old_versions, current = true, below = [] }
  } : {})
  prefixes = {
    for rule, each in local.rules_of : rule => rule == "previews" ? ["${var.name}/${local.previews}"] : [
      for pair in setproduct(each.current ? local.folders : [""], each.below) : "${var.name}/${pair[0]}${pair[1]}"
    ]
  }

  # Azure takes ten prefixes in a rule.
  rules = merge([
    for rule, each in local.rules_of : {
      for index, prefixes in chunklist(local.prefixes[rule], 10) :
      index == 0 ? rule : "${rule}${index}" => { days = each.days, current = each.current, prefixes = prefixes }
    }
  ]...)
}
