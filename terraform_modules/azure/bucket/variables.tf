variable "name" {
  description = "Name of the bucket: here, of a container."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9](-?[a-z0-9])+$", var.name)) && length(var.name) >= 3 && length(var.name) <= 63
    error_message = "Azure takes a container's name of 3 to 63 small letters, digits and single hyphens, with a letter or digit at both ends."
  }
}

variable "location" {
  description = "Where the bucket is: a region, a resource group that exists, and the id of the storage account that it shares with others (as the module account gives it); without one it gets an account of its own."
  type = object({
    region         = string
    resource_group = string
    account        = optional(string)
  })

  validation {
    condition     = var.location.account == null || can(regex("^/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft.Storage/storageAccounts/[a-z0-9]{3,24}$", var.location.account))
    error_message = "location.account is a resource id: /subscriptions/ID/resourceGroups/GROUP/providers/Microsoft.Storage/storageAccounts/NAME."
  }
}

variable "readers" {
  description = "Who may list and read which prefixes, by a name of your choice; identity is the object id of a principal of Entra. Without one nothing is granted."
  type = map(object({
    identity = optional(string)
    prefixes = optional(set(string), [""])
  }))
  default = {}

  validation {
    condition     = !anytrue(flatten([for each in values(var.readers) : [for prefix in each.prefixes : can(regex("['\\\\{}[:cntrl:]]", prefix))]]))
    error_message = "A prefix stands in a condition of Azure's, so it has no quote ', backslash, brace or control character."
  }
}

variable "writers" {
  description = "Who may list, read, write and delete which prefixes, as readers."
  type = map(object({
    identity = optional(string)
    prefixes = optional(set(string), [""])
  }))
  default = {}

  validation {
    condition     = !anytrue(flatten([for each in values(var.writers) : [for prefix in each.prefixes : can(regex("['\\\\{}[:cntrl:]]", prefix))]]))
    error_message = "A prefix stands in a condition of Azure's, so it has no quote ', backslash, brace or control character."
  }
}

variable "lifecycle_days" {
  description = "Days after which objects below .glacier/exchange/ and .glacier/cache/, old versions, and unpublished writes expire. In an account that exists its maker says so."
  type = object({
    exchange     = optional(number, 7)
    old_versions = optional(number, 30)
    uploads      = optional(number, 2)
  })
  default = {}

  validation {
    condition     = alltrue([for days in values(var.lifecycle_days) : days >= 1 && floor(days) == days])
    error_message = "Days are whole numbers from 1 on."
  }
}

variable "replica" {
  description = "A second region that gets a copy, null for none. Only with an account of its own."
  type = object({
    region = string
  })
  default = null
}

variable "labels" {
  description = "Tags of all that takes some, as in glacier-project and glacier-env; a container takes none."
  type        = map(string)
  default     = {}
}

variable "hardened" {
  description = "Whether an account of its own takes what costs money: copies in the paired region, and a log of every access."
  type        = bool
  default     = false
}

variable "allow_data_loss" {
  description = "Whether the bucket may be destroyed with what is in it. Takes effect once it is applied, before the destroy."
  type        = bool
  default     = false
}

variable "cloud" {
  description = "What only Azure has: whether the roles are those that the module identity has made in the resource group, or others that exist (ids), in place of two that are made here; the type of the principals; and for an account of its own its name, and what the module account takes in cloud."
  type = object({
    shared_roles    = optional(bool, false)
    roles           = optional(object({ read = optional(string), write = optional(string) }))
    principal_type  = optional(string, "ServicePrincipal")
    account         = optional(string)
    public_endpoint = optional(bool, true)
    allowed_ips     = optional(set(string), [])
    customer_key    = optional(object({ id = string, identity = string }))
    log_workspace   = optional(string)
  })
  default = {}

  validation {
    condition     = can(regex("^[a-z0-9]{3,24}$", coalesce(var.cloud.account, "none")))
    error_message = "Azure takes a storage account's name of 3 to 24 small letters and digits."
  }

  validation {
    condition     = contains(["ServicePrincipal", "User", "Group"], var.cloud.principal_type)
    error_message = "A principal is a ServicePrincipal (identities too), a User or a Group."
  }
}
