variable "name" {
  description = "Name of the bucket that holds the states of environments; one for all accounts of AWS."
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

variable "labels" {
  description = "Tags of all that is made, as in glacier-project."
  type        = map(string)
  default     = {}
}

variable "hardened" {
  description = "Whether to turn on what costs money: a key of the account's own (KMS) in place of S3's, and access logs in a bucket beside it."
  type        = bool
  default     = false
}

variable "allow_data_loss" {
  description = "Whether the bucket may be destroyed with the states in it. Takes effect once it is applied, before the destroy."
  type        = bool
  default     = false
}

variable "cloud" {
  description = "What only AWS has. old_versions: how many replaced versions of a state are kept at least, and old_version_days: for how long all are. log_bucket: an existing bucket that takes the access logs of a hardened one."
  type = object({
    old_versions     = optional(number, 20)
    old_version_days = optional(number, 90)
    log_bucket       = optional(string)
  })
  default = {}
}
