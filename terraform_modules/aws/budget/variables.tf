variable "name" {
  description = "Name of the budget."
  type        = string

  validation {
    condition     = can(regex("^[^:\\\\]{1,100}$", var.name))
    error_message = "AWS Budgets: a name has 1 to 100 characters and none of : and \\."
  }
}

variable "location" {
  description = "Nothing on AWS: budgets are the account's."
  type        = object({})
  default     = {}
}

variable "monthly_limit" {
  description = "What may be spent in a month, in USD."
  type        = number

  validation {
    condition     = var.monthly_limit > 0
    error_message = "A budget is more than 0."
  }
}

variable "notify" {
  description = "E-mail addresses that are told, by a name of your choice: at 80 and 100 percent, and when a month is likely to end above the limit."
  type        = map(string)
  default     = {}

  validation {
    condition     = length(var.notify) <= 10 && alltrue([for address in var.notify : can(regex("^[^@\\s]+@[^@\\s]+$", address))])
    error_message = "AWS Budgets: 10 e-mail addresses at most are told."
  }
}

variable "labels" {
  description = "Tags of the budget. The costs that count are those with the same glacier-project, or all of the account's if there is none."
  type        = map(string)
  default     = {}
}

variable "cloud" {
  description = "What only AWS has. whole_account: whether all costs of the account count, whatever their tags."
  type = object({
    whole_account = optional(bool, false)
  })
  default = {}
}
