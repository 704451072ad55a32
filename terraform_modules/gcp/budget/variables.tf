variable "name" {
  description = "Name of the budget."
  type        = string

  validation {
    condition     = trimspace(var.name) != "" && length(var.name) <= 60
    error_message = "Google takes a budget name of 1 to 60 characters."
  }
}

variable "location" {
  description = "What is watched, and who pays: a Google Cloud project, and its billing account, as in 012345-6789AB-CDEF01."
  type = object({
    project         = string
    billing_account = string
    region          = optional(string)
  })

  validation {
    condition     = can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.location.billing_account))
    error_message = "location.billing_account is as in 012345-6789AB-CDEF01."
  }
}

variable "monthly_limit" {
  description = "What a month may cost, in the currency of the billing account. Nothing is stopped at it: people are told."
  type        = number

  validation {
    condition     = var.monthly_limit >= 1 && floor(var.monthly_limit) == var.monthly_limit
    error_message = "monthly_limit is a whole amount, at least 1."
  }
}

variable "notify" {
  description = "Who is told, besides those who administer the billing account: e-mail addresses, by a name of your choice."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for address in values(var.notify) : can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", address))])
    error_message = "notify has e-mail addresses, as in data@example.com."
  }

  validation {
    condition     = length(var.notify) <= 5
    error_message = "Google tells at most 5 addresses."
  }
}

variable "labels" {
  description = "Labels of what takes some, as in glacier-project and glacier-env; what Google does not take in them is replaced by _."
  type        = map(string)
  default     = {}
}

variable "cloud" {
  description = "What only Google Cloud has: currency (that of the billing account, as in EUR; looked up by Google if null), project_number (looked up if null)."
  type = object({
    currency       = optional(string)
    project_number = optional(string)
  })
  default = {}
}
