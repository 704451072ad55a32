variable "names" {
  description = "Names of the secrets, as Glacier's Secret names them. Their values are put in by people or by the cloud, never through Terraform."
  type        = set(string)

  validation {
    condition     = alltrue([for name in var.names : can(regex("^[A-Za-z0-9_-]{1,255}$", name))])
    error_message = "Google takes a secret's name of 1 to 255 letters, digits, - and _."
  }
}

variable "prefix" {
  description = "What stands before each name in the store, as in glacier-acme-prod-."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]*$", var.prefix))
    error_message = "Google takes letters, digits, - and _ in a secret's name, the prefix included."
  }
}

variable "location" {
  description = "Where the secrets are: a Google Cloud project, and the region that keeps their values, as in us-central1."
  type = object({
    project = string
    region  = string
  })
}

variable "readers" {
  description = "Who may read the values of which secrets, by a name of your choice; identity as in serviceAccount:daily@my-project.iam.gserviceaccount.com."
  type = map(object({
    identity = string
    names    = set(string)
  }))
  default = {}
}

variable "labels" {
  description = "Labels of all that is made, as in glacier-project and glacier-env; what Google does not take in them is replaced by _."
  type        = map(string)
  default     = {}
}

variable "hardened" {
  description = "What costs money: a key of your own, which is replaced every 90 days."
  type        = bool
  default     = false
}

variable "allow_data_loss" {
  description = "Whether the secrets may be destroyed with their values. Takes effect once it is applied, before the destroy."
  type        = bool
  default     = false
}

variable "cloud" {
  description = "What only Google Cloud has: kms_key (an own key, in place of the one that hardened makes), project_number (looked up if null, when hardened makes a key)."
  type = object({
    kms_key        = optional(string)
    project_number = optional(string)
  })
  default = {}
}
