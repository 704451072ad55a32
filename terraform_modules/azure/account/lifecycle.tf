locals {
  # Azure takes letters and digits in the name of a rule; a hash keeps containers apart.
  words = { for name in keys(var.buckets) : name => strcontains(name, "-") ? "${replace(name, "-", "")}${substr(sha256(name), 0, 6)}" : name }
  rules_of = merge(concat([
    for name, bucket in var.buckets : {
      "${local.words[name]}Exchange"    = { bucket = name, days = bucket.lifecycle_days.exchange, current = true, below = [".glacier/cache/", ".glacier/exchange/"] }
      "${local.words[name]}Uploads"     = { bucket = name, days = bucket.lifecycle_days.uploads, current = true, below = [".glacier/writes/"] }
      "${local.words[name]}OldVersions" = { bucket = name, days = bucket.lifecycle_days.old_versions, current = false, below = [""] }
    }
    ], [
    for name, bucket in var.buckets : {
      "${local.words[name]}Previews" = { bucket = name, days = bucket.lifecycle_days.old_versions, current = true, below = [local.previews] }
    } if contains(bucket.folders, local.previews)
  ])...)
  previews = ".glacier/preview/"

  # Glacier's own folders are at the root of a container, and beside what is written.
  prefixes = {
    for rule, each in local.rules_of : rule => [
      for pair in setproduct(each.current && !contains(each.below, local.previews) ? setunion([""], setsubtract(var.buckets[each.bucket].folders, [local.previews])) : [""], each.below) :
      "${each.bucket}/${pair[0]}${pair[1]}"
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
