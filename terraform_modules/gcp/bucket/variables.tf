variable "name" {
  description = "Name of the bucket, unique in all of Google Cloud."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9_-]{1,61}[a-z0-9]$", var.name))
    error_message = "Google takes a bucket name of 3 to 63 characters: small letters a to z, digits, - and _, with a letter or digit at both ends. (It also takes dots, for a domain that you have proved to own; Glacier does not.)"
  }

  validation {
    condition     = !startswith(var.name, "goog") && !strcontains(var.name, "google")
    error_message = "Google takes no bucket name that begins with goog or contains google."
  }
}

variable "location" {
  description = "Where the bucket is: a Google Cloud project, and a region as in us-central1."
  type = object({
    project = string
    region  = string
  })
}

variable "readers" {
  description = "Who may list and get which prefixes, by a name of your choice; identity as in serviceAccount:daily@my-project.iam.gserviceaccount.com. Who has no identity is granted nothing."
  type = map(object({
    identity = optional(string)
    prefixes = optional(set(string), [""])
  }))
  default = {}
}

variable "writers" {
  description = "Who may list, get, put and delete which prefixes, by a name of your choice; identity as in serviceAccount:daily@my-project.iam.gserviceaccount.com. Who has no identity is granted nothing."
  type = map(object({
    identity = optional(string)
    prefixes = optional(set(string), [""])
  }))
  default = {}
}

variable "lifecycle_days" {
  description = "Days until Glacier's exchange and cache, old versions of objects, and incomplete uploads and unpublished writes are deleted."
  type = object({
    exchange     = optional(number, 7)
    old_versions = optional(number, 30)
    uploads      = optional(number, 2)
  })
  default = {}

  validation {
    condition     = alltrue([for days in values(var.lifecycle_days) : days >= 1 && floor(days) == days])
    error_message = "lifecycle_days are whole days, at least 1."
  }
}

variable "replica" {
  description = "A second region of the same continent (us, europe or asia), in which all objects are kept too; turbo copies them within 15 minutes. It costs more, and cannot be changed later without a new bucket."
  type = object({
    region = string
    turbo  = optional(bool, false)
  })
  default = null

  validation {
    condition     = var.replica == null ? true : can(regex("^(us|europe|asia)-", var.replica.region))
    error_message = "replica.region is a region in us, europe or asia, within which Google pairs regions."
  }
}

variable "labels" {
  description = "Labels of all that is made, as in glacier-project and glacier-env; what Google does not take in them is replaced by _."
  type        = map(string)
  default     = {}
}

variable "hardened" {
  description = "What costs money: a key of your own that is replaced every 90 days, logs of each access, and deleted objects that can be restored for 7 days."
  type        = bool
  default     = false
}

variable "allow_data_loss" {
  description = "Whether the bucket may be destroyed with what is in it. Takes effect once it is applied, before the destroy."
  type        = bool
  default     = false
}

variable "cloud" {
  description = "What only Google Cloud has: kms_key (an own key, in place of the one that hardened makes), log_bucket (an own bucket for access logs, in place of NAME-logs), roles (custom roles in place of those made here), metadata (who of readers and writers may also see the bucket's settings, as Prefect's block GcsBucket does before it reads or writes)."
  type = object({
    kms_key    = optional(string)
    log_bucket = optional(string)
    metadata   = optional(set(string), [])
    roles = optional(object({
      read     = optional(string)
      write    = optional(string)
      metadata = optional(string)
    }), {})
  })
  default = {}
}
