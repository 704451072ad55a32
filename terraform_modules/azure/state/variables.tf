variable "name" {
  description = "Name of the storage account, one for the whole world."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9]{3,24}$", var.name))
    error_message = "Azure takes a storage account's name of 3 to 24 small letters and digits."
  }
}

variable "location" {
  description = "Where it is: a region, and a resource group that exists."
  type = object({
    region         = string
    resource_group = string
  })
}

variable "labels" {
  description = "Tags of all that is made, as in glacier-project and glacier-env."
  type        = map(string)
  default     = {}
}

variable "hardened" {
  description = "Whether to take what costs money: copies in the paired region, and a log of every access."
  type        = bool
  default     = false
}

variable "allow_data_loss" {
  description = "Whether the account may be destroyed with what is in it. Takes effect once it is applied, before the destroy."
  type        = bool
  default     = false
}

variable "cloud" {
  description = "What only Azure has: the name of the container; whether the public endpoint answers (to whoever has Entra's tokens), and to which addresses only; a key of one's own in a Key Vault with the user-assigned identity that may use it; a Log Analytics workspace for access logs."
  type = object({
    container       = optional(string, "tfstate")
    public_endpoint = optional(bool, true)
    allowed_ips     = optional(set(string), [])
    customer_key    = optional(object({ id = string, identity = string }))
    log_workspace   = optional(string)
  })
  default = {}

  validation {
    condition     = can(regex("^[a-z0-9](-?[a-z0-9])+$", var.cloud.container)) && length(var.cloud.container) >= 3 && length(var.cloud.container) <= 63
    error_message = "Azure takes a container's name of 3 to 63 small letters, digits and single hyphens, with a letter or digit at both ends."
  }
}
