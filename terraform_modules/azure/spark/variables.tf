variable "name" {
  description = "Name of the Databricks workspace."
  type        = string

  validation {
    condition     = can(regex("^[0-9A-Za-z][0-9A-Za-z_-]{2,62}$", var.name))
    error_message = "Azure takes a workspace's name of 3 to 64 letters, digits, hyphens and underscores; this module takes 63, with a letter or digit first."
  }
}

variable "location" {
  description = "Where it is: a region, and a resource group that exists. Databricks makes another one, NAME-managed."
  type = object({
    region         = string
    resource_group = string
  })
}

variable "pipelines" {
  description = "The pipelines whose tasks run on Spark by name, as the module work_pool takes them. Each gets an identity; what that may do stands at the buckets."
  type = map(object({
    reads   = optional(map(set(string)), {})
    writes  = optional(map(set(string)), {})
    secrets = optional(set(string), [])
    image   = optional(string)
  }))
  default = {}
}

variable "network" {
  description = "A network for clusters, by its id; its subnets for Databricks are in cloud.subnets. Null: Databricks makes one."
  type = object({
    id              = string
    subnets         = optional(list(string), [])
    security_groups = optional(list(string), [])
  })
  default = null
}

variable "submitters" {
  description = "Who may submit, by a name of your choice; identity is the object id of an identity or service principal of Entra."
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
  description = "Whether to take what costs money: monitored machines, and clusters that are updated by themselves."
  type        = bool
  default     = false
}

variable "cloud" {
  description = "What only Azure has: whether the public endpoint answers (to whoever has Entra's tokens); two subnets of the network that are delegated to Databricks, host and container, each by its name and the id of the association of its security group; whether the role is the one that the module identity has made in the resource group."
  type = object({
    public_endpoint = optional(bool, true)
    subnets = optional(object({
      host      = object({ name = string, association = string })
      container = object({ name = string, association = string })
    }))
    shared_roles = optional(bool, false)
  })
  default = {}
}
