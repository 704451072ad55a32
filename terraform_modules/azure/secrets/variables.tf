variable "names" {
  description = "Names of the secrets, as Glacier's Secret names them. Values are put in by people, never by Terraform."
  type        = set(string)

  validation {
    condition     = alltrue([for name in var.names : can(regex("^[0-9A-Za-z_-]{1,100}$", name))])
    error_message = "Key Vault takes a secret's name of letters, digits and hyphens; underscores become hyphens, and this module takes up to 100 of them."
  }

  validation {
    condition     = length(distinct([for name in var.names : lower(replace(name, "_", "-"))])) == length(var.names)
    error_message = "Two names would be one in Key Vault, where underscores become hyphens and capitals are small letters."
  }
}

variable "prefix" {
  description = "Put before each name in the vault."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^[0-9A-Za-z_-]{0,27}$", var.prefix))
    error_message = "Key Vault takes a secret's name of letters, digits and hyphens; underscores become hyphens, and a prefix has up to 27 of them."
  }
}

variable "location" {
  description = "Where the secrets are: a region, a resource group that exists, and the id of a Key Vault that exists; without one it is made."
  type = object({
    region         = string
    resource_group = string
    vault          = optional(string)
  })

  validation {
    condition     = var.location.vault == null || can(regex("^/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft.KeyVault/vaults/[^/]+$", var.location.vault))
    error_message = "location.vault is a resource id: /subscriptions/ID/resourceGroups/GROUP/providers/Microsoft.KeyVault/vaults/NAME."
  }
}

variable "readers" {
  description = "Who may read which of the secrets, by a name of your choice; identity is the object id of a principal of Entra."
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
  description = "Whether to take what costs money: a vault with hardware modules, and a log of every access."
  type        = bool
  default     = false
}

variable "allow_data_loss" {
  description = "Whether the vault may be destroyed with what is in it. Takes effect once it is applied, before the destroy."
  type        = bool
  default     = false
}

variable "cloud" {
  description = "What only Azure has: the name of the vault that is made; the type of the principals; whether the public endpoint answers (to whoever has Entra's tokens), and to which addresses only; a Log Analytics workspace for access logs."
  type = object({
    vault           = optional(string)
    principal_type  = optional(string, "ServicePrincipal")
    public_endpoint = optional(bool, true)
    allowed_ips     = optional(set(string), [])
    log_workspace   = optional(string)
  })
  default = {}

  validation {
    condition     = can(regex("^[A-Za-z](-?[0-9A-Za-z])+$", coalesce(var.cloud.vault, "none"))) && length(coalesce(var.cloud.vault, "none")) >= 3 && length(coalesce(var.cloud.vault, "none")) <= 24
    error_message = "Azure takes a Key Vault's name of 3 to 24 letters, digits and single hyphens, with a letter first and no hyphen last."
  }

  validation {
    condition     = contains(["ServicePrincipal", "User", "Group"], var.cloud.principal_type)
    error_message = "A principal is a ServicePrincipal (identities too), a User or a Group."
  }
}
