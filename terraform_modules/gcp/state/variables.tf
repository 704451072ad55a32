variable "name" {
  description = "Name of the bucket that keeps the state, unique in all of Google Cloud."
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
  description = "Where the state is: a Google Cloud project, and a region as in us-central1."
  type = object({
    project = string
    region  = string
  })
}

variable "labels" {
  description = "Labels of all that is made, as in glacier-project and glacier-env; what Google does not take in them is replaced by _."
  type        = map(string)
  default     = {}
}

variable "hardened" {
  description = "What costs money: a key of your own that is replaced every 90 days, and logs of each access."
  type        = bool
  default     = false
}

variable "allow_data_loss" {
  description = "Whether the bucket may be destroyed with the states in it. Takes effect once it is applied, before the destroy."
  type        = bool
  default     = false
}

variable "cloud" {
  description = "What only Google Cloud has: kms_key (an own key, in place of the one that hardened makes), log_bucket (an own bucket for access logs, in place of NAME-logs)."
  type = object({
    kms_key    = optional(string)
    log_bucket = optional(string)
  })
  default = {}
}
