variable "name" {
  description = "Of the two identities the name that plan and deploy are added to."
  type        = string

  validation {
    condition     = can(regex("^[0-9A-Za-z][0-9A-Za-z_-]{1,100}$", var.name))
    error_message = "Azure takes an identity's name of letters, digits, hyphens and underscores, with a letter or digit first."
  }
}

variable "location" {
  description = "Where the project is: a region, and its resource group, which exists and is for it alone: rights are of the whole group."
  type = object({
    region         = string
    resource_group = string
  })
}

variable "repository" {
  description = "The repository on GitHub whose workflows are trusted, as in owner/name."
  type        = string

  validation {
    condition     = can(regex("^[0-9A-Za-z-]+/[0-9A-Za-z._-]+$", var.repository))
    error_message = "repository is as in owner/name: one repository, without a wildcard."
  }
}

variable "branch" {
  description = "The branch that deploys, and plans."
  type        = string
  default     = "main"

  validation {
    condition     = can(regex("^[^\\s:*?~^\\\\\\[]+$", var.branch))
    error_message = "branch is the name of one branch, without a wildcard."
  }
}

variable "github_environment" {
  description = "An environment of the repository on GitHub that deploys, in place of the branch."
  type        = string
  default     = null

  validation {
    condition     = var.github_environment == null || can(regex("^[^:*?]+$", var.github_environment))
    error_message = "github_environment is the name of one environment, without a colon or wildcard."
  }
}

variable "kinds" {
  description = "Kinds of modules that may be made."
  type        = set(string)
  default     = ["bucket", "work_pool"]

  validation {
    condition     = length(setsubtract(var.kinds, ["bucket", "budget", "network", "registry", "secrets", "spark", "work_pool"])) == 0
    error_message = "A kind is bucket, budget, network, registry, secrets, spark or work_pool."
  }
}

variable "prefix" {
  description = "What the names of the project's resources begin with. Azure gives no rights by name: the resource group is the boundary."
  type        = string
  default     = ""
}

variable "buckets" {
  description = "Names of the buckets that the project uses. Azure gives no rights by name: the resource group is the boundary."
  type        = set(string)
  default     = []
}

variable "state" {
  description = "Resource id of the container with Terraform's state, as the module state gives it; null without one."
  type        = string
  default     = null

  validation {
    condition     = var.state == null || can(regex("^/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft.Storage/storageAccounts/[^/]+/blobServices/default/containers/[^/]+$", var.state))
    error_message = "state is the resource id of a container, as the module state gives it in id."
  }
}

variable "labels" {
  description = "Tags of the identities, as in glacier-project and glacier-env."
  type        = map(string)
  default     = {}
}

variable "hardened" {
  description = "As in other modules; nothing here costs money, so it changes nothing."
  type        = bool
  default     = false
}

variable "previews" {
  description = "Whether who plans may make and remove previews: write and delete what is kept of them beside the state, and what is below .glacier/preview/ in the project's buckets."
  type        = bool
  default     = false
}

variable "cloud" {
  description = "What only Azure has. branches: further ones whose workflows may plan, since Azure compares names of branches as a whole. state_prefix: what the names of the project's states begin with. kept: what those begin with that only a person writes, as the state of this module."
  type = object({
    branches     = optional(set(string), [])
    state_prefix = optional(string, "")
    kept         = optional(string)
  })
  default = {}

  validation {
    condition     = length(var.cloud.branches) <= 17
    error_message = "Azure takes twenty federated credentials for an identity, so 17 further branches."
  }
}
