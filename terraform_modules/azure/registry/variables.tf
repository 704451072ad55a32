variable "name" {
  description = "Name of the registry, one for the whole world."
  type        = string

  validation {
    condition     = can(regex("^[0-9A-Za-z]{5,50}$", var.name))
    error_message = "Azure takes a registry's name of 5 to 50 letters and digits."
  }
}

variable "location" {
  description = "Where it is: a region, and a resource group that exists."
  type = object({
    region         = string
    resource_group = string
  })
}

variable "keep_images" {
  description = "How many images of a repository are kept however old they are."
  type        = number
  default     = 20

  validation {
    condition     = var.keep_images >= 1 && floor(var.keep_images) == var.keep_images
    error_message = "keep_images is a whole number from 1 on."
  }
}

variable "untagged_days" {
  description = "Days after which images without a tag go, and those beyond keep_images."
  type        = number
  default     = 7

  validation {
    condition     = var.untagged_days >= 1 && var.untagged_days <= 365 && floor(var.untagged_days) == var.untagged_days
    error_message = "Azure takes whole days from 1 to 365."
  }
}

variable "readers" {
  description = "Who may pull, by a name of your choice; identity is the object id of a principal of Entra."
  type = map(object({
    identity = string
  }))
  default = {}
}

variable "writers" {
  description = "Who may push and pull, as readers."
  type = map(object({
    identity = string
  }))
  default = {}
}

variable "labels" {
  description = "Tags of all that is made, as in glacier-project and glacier-env."
  type        = map(string)
  default     = {}
}

variable "hardened" {
  description = "Whether to take what costs money: the premium registry, in several zones, which can be closed to public addresses."
  type        = bool
  default     = false
}

variable "allow_data_loss" {
  description = "Whether the registry may be destroyed with what is in it. Takes effect once it is applied, before the destroy."
  type        = bool
  default     = false
}

variable "cloud" {
  description = "What only Azure has: the type of the principals, and whether the public endpoint answers (to whoever has Entra's tokens)."
  type = object({
    principal_type  = optional(string, "ServicePrincipal")
    public_endpoint = optional(bool, true)
  })
  default = {}

  validation {
    condition     = contains(["ServicePrincipal", "User", "Group"], var.cloud.principal_type)
    error_message = "A principal is a ServicePrincipal (identities too), a User or a Group."
  }
}
