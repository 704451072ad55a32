variable "names" {
  description = "Names of the secrets, as Secret names them in code. Their values are put in by people or the cloud."
  type        = set(string)

  validation {
    condition     = alltrue([for name in var.names : can(regex("^[A-Za-z0-9/_+=.@-]{1,512}$", name))])
    error_message = "Secrets Manager: a name has 1 to 512 letters, digits and /_+=.@-."
  }
  validation {
    condition     = alltrue([for name in var.names : !can(regex("-[A-Za-z0-9]{6}$", name))])
    error_message = "Secrets Manager: a name does not end in a hyphen and six characters, which is how the store itself ends ARNs."
  }
}

variable "prefix" {
  description = "Put before each name in the store, as in acme-prod/."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^[A-Za-z0-9/_+=.@-]{0,200}$", var.prefix)) && !startswith(var.prefix, "aws")
    error_message = "Secrets Manager: a name has letters, digits and /_+=.@-; the prefix has 200 at most, and names that begin with aws are the services'."
  }
}

variable "location" {
  description = "Where the secrets are: the region, if not the provider's."
  type = object({
    region = optional(string)
  })
  default = {}
}

variable "readers" {
  description = "Who may read which secrets, by a name of your choice: ARN of a role or user, and names from above. Pipelines have this right in their own role already."
  type = map(object({
    identity = string
    names    = set(string)
  }))
  default = {}
}

variable "labels" {
  description = "Tags of all that is made, as in glacier-project and glacier-env."
  type        = map(string)
  default     = {}
}

variable "hardened" {
  description = "Whether to turn on what costs money: a key of the account's own (KMS) in place of the store's."
  type        = bool
  default     = false
}

variable "allow_data_loss" {
  description = "Whether a secret that is destroyed is gone at once; else it can be restored for 30 days. Takes effect once it is applied, before the destroy."
  type        = bool
  default     = false
}

variable "cloud" {
  description = "What only AWS has: nothing yet."
  type        = object({})
  default     = {}
}
