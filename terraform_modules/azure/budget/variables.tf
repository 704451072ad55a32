variable "name" {
  description = "Name of the budget."
  type        = string

  validation {
    condition     = can(regex("^[0-9A-Za-z_-]{1,63}$", var.name))
    error_message = "Azure takes a budget's name of 1 to 63 letters, digits, hyphens and underscores."
  }
}

variable "location" {
  description = "What is counted: a resource group that exists, in whichever regions its resources are."
  type = object({
    region         = optional(string)
    resource_group = string
  })
}

variable "monthly_limit" {
  description = "What a month may cost, in the currency of the account."
  type        = number

  validation {
    condition     = var.monthly_limit > 0
    error_message = "monthly_limit is more than nothing."
  }
}

variable "notify" {
  description = "Addresses of e-mail that are told, by a name of your choice: at 80 and 100 percent, and when 100 are to be expected."
  type        = map(string)

  validation {
    condition     = length(var.notify) > 0 && alltrue([for address in values(var.notify) : can(regex("^[^@\\s]+@[^@\\s]+$", address))])
    error_message = "A budget tells somebody: at least one address of e-mail."
  }
}

variable "labels" {
  description = "Labels of the project, as in glacier-project and glacier-env; a budget takes no tags, but can count by them (cloud.only_labelled)."
  type        = map(string)
  default     = {}
}

variable "cloud" {
  description = "What only Azure has: whether only resources with the labels as tags are counted; else all of the resource group."
  type = object({
    only_labelled = optional(bool, false)
  })
  default = {}
}
