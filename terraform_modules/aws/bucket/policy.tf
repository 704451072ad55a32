locals {
  # Prefixes are plain text: what IAM would read as a pattern or variable is written as the character that it is.
  granted = {
    for verb, grants in { read = var.readers, write = var.writers } : verb => {
      for name, grant in grants : name => {
        identity = grant.identity
        prefixes = [for prefix in sort(grant.prefixes) : replace(replace(replace(prefix, "$", "$${$}"), "*", "$${*}"), "?", "$${?}")]
      } if grant.identity != null
    }
  }

  actions = {
    read  = ["s3:GetObject"]
    write = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
  }

  # A prefix is that of names, so it ends in *; nothing else here does.
  grants = flatten([
    for verb, grants in local.granted : [
      for grant in grants : [
        merge(
          {
            Effect    = "Allow"
            Principal = { AWS = grant.identity }
            Action    = ["s3:ListBucket"]
            Resource  = [local.arn]
          },
          contains(grant.prefixes, "") ? {} : { Condition = { StringLike = { "s3:prefix" = [for prefix in grant.prefixes : "${prefix}*"] } } },
        ),
        {
          Effect    = "Allow"
          Principal = { AWS = grant.identity }
          Action    = local.actions[verb]
          Resource  = [for prefix in grant.prefixes : "${local.arn}/${prefix}*"]
        },
      ]
    ]
  ])

  # Everybody, all actions, all objects: it takes rights away and gives none.
  only_tls = {
    for name in compact([var.name, local.replica, local.logs]) : name => {
      Sid       = "OnlyTLS"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = ["arn:${local.partition}:s3:::${name}", "arn:${local.partition}:s3:::${name}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }
  }

  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = concat([local.only_tls[var.name]], local.grants)
  })
}
