data "aws_partition" "here" {}

data "aws_caller_identity" "here" {}

data "aws_region" "here" {
  region = var.location.region
}

locals {
  partition = data.aws_partition.here.partition
  account   = data.aws_caller_identity.here.account_id
  region    = data.aws_region.here.region
  stored    = { for name in var.names : name => "${var.prefix}${name}" }

  # The store ends each ARN with six characters of its own.
  arns = { for name, stored in local.stored : name => "arn:${local.partition}:secretsmanager:${local.region}:${local.account}:secret:${stored}-??????" }
  read = {
    for name in var.names : name => [for key in sort(keys(var.readers)) : var.readers[key].identity if contains(var.readers[key].names, name)]
  }
  readers = {
    for key, reader in var.readers : key => {
      identity = reader.identity
      arns     = [for name in sort(reader.names) : local.arns[name] if contains(var.names, name)]
    }
  }
}

# Values never pass through Terraform: no version is made here.
resource "aws_secretsmanager_secret" "secret" {
  #checkov:skip=CKV2_AWS_57:values are put in by people, and only they know how to change them
  for_each                = local.stored
  name                    = each.value
  region                  = var.location.region
  description             = "Secret ${each.key} of Glacier's pipelines."
  kms_key_id              = var.hardened ? aws_kms_key.secrets[0].arn : null
  recovery_window_in_days = var.allow_data_loss ? 0 : 30
  tags                    = var.labels

  lifecycle {
    precondition {
      condition     = alltrue([for reader in var.readers : length(setsubtract(reader.names, var.names)) == 0])
      error_message = "A reader reads a secret that is not in names."
    }
  }
}

resource "aws_secretsmanager_secret_policy" "secret" {
  for_each            = { for name, identities in local.read : name => identities if length(identities) > 0 }
  secret_arn          = aws_secretsmanager_secret.secret[each.key].arn
  region              = var.location.region
  block_public_policy = true

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { AWS = each.value }
      Action    = ["secretsmanager:GetSecretValue"]
      Resource  = [local.arns[each.key]]
    }]
  })
}

resource "aws_kms_key" "secrets" {
  count                   = var.hardened ? 1 : 0
  region                  = var.location.region
  description             = "Encrypts the secrets ${var.prefix}* of Glacier's pipelines."
  enable_key_rotation     = true
  deletion_window_in_days = 30
  tags                    = var.labels

  # In the policy of a key, * is that key. The account's administrators manage it; a reader uses it through the store, for
  # its secrets only.
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [{
        Sid       = "Account"
        Effect    = "Allow"
        Principal = { AWS = "arn:${local.partition}:iam::${local.account}:root" }
        Action    = "kms:*"
        Resource  = "*"
      }],
      [
        for key, reader in local.readers : {
          Effect    = "Allow"
          Principal = { AWS = reader.identity }
          Action    = ["kms:Decrypt"]
          Resource  = "*"
          Condition = {
            StringEquals = { "kms:ViaService" = "secretsmanager.${local.region}.amazonaws.com" }
            StringLike   = { "kms:EncryptionContext:SecretARN" = reader.arns }
          }
        }
      ],
    )
  })
}
