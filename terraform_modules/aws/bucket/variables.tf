variable "name" {
  description = "Name of the bucket; one for all accounts of AWS."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.name))
    error_message = "S3: a bucket's name has 3 to 63 characters: small letters, digits, dots and hyphens, and begins and ends with a letter or digit."
  }
  validation {
    condition     = !strcontains(var.name, "..") && !can(regex("^\\d+\\.\\d+\\.\\d+\\.\\d+$", var.name))
    error_message = "S3: a bucket's name has no two dots in a row, and is not formatted as an IP address."
  }
  validation {
    condition     = !can(regex("^(xn--|sthree-|amzn-s3-demo-)|(-s3alias|--ol-s3|\\.mrap|--x-s3|--table-s3)$", var.name))
    error_message = "S3: a bucket's name does not begin with xn--, sthree- or amzn-s3-demo-, nor end in -s3alias, --ol-s3, .mrap, --x-s3 or --table-s3."
  }
}

variable "location" {
  description = "Where the bucket is: its region, if not the provider's."
  type = object({
    region = optional(string)
  })
  default = {}
}

variable "readers" {
  description = "Who may read which prefixes, by a name of your choice. Those with an identity (ARN of a role or user) are granted it by the bucket's policy."
  type = map(object({
    identity = optional(string)
    prefixes = optional(set(string), [""])
  }))
  default = {}
}

variable "writers" {
  description = "Who may write which prefixes (and read there), by a name of your choice. Those with an identity are granted it by the bucket's policy. What all of them leave unpublished below their prefixes expires."
  type = map(object({
    identity = optional(string)
    prefixes = optional(set(string), [""])
  }))
  default = {}
}

variable "lifecycle_days" {
  description = "Days after which things go: frames handed on between machines and cached ones, versions that were replaced, uploads and writes that were never finished."
  type = object({
    exchange     = optional(number, 7)
    old_versions = optional(number, 30)
    uploads      = optional(number, 2)
  })
  default = {}

  validation {
    condition     = alltrue([for days in values(var.lifecycle_days) : days >= 1 && floor(days) == days])
    error_message = "S3: a lifecycle rule has a whole number of days, at least 1."
  }
}

variable "replica" {
  description = "A copy of all new objects in a second region: the region, and the copy's name (NAME-replica if none is given). None by default: it costs as much as the bucket."
  type = object({
    region = string
    name   = optional(string)
  })
  default = null
}

variable "labels" {
  description = "Tags of all that is made, as in glacier-project and glacier-env."
  type        = map(string)
  default     = {}
}

variable "hardened" {
  description = "Whether to turn on what costs money: a key of the account's own (KMS) in place of S3's, and access logs in a bucket beside it."
  type        = bool
  default     = false
}

variable "allow_data_loss" {
  description = "Whether the bucket may be destroyed with what is in it. Takes effect once it is applied, before the destroy."
  type        = bool
  default     = false
}

variable "cloud" {
  description = "What only AWS has. permissions_boundary: ARN of the boundary of the replication role. log_bucket: an existing bucket that takes the access logs of a hardened one."
  type = object({
    permissions_boundary = optional(string)
    log_bucket           = optional(string)
  })
  default = {}
}
