variable "name" {
  description = "Name of the Prefect work pool."
  type        = string

  validation {
    condition     = can(regex("^[^/%&<>]+$", var.name))
    error_message = "Prefect takes a name that is not empty and has none of / % & < >."
  }

  validation {
    condition     = can(regex("[0-9A-Za-z]", var.name))
    error_message = "Azure takes names of letters and digits: the name needs one at least."
  }
}

variable "type" {
  description = "Prefect's type of the work pool."
  type        = string
  default     = "azure-container-instance"

  validation {
    condition     = contains(["azure-container-instance", "azure-container-instance:push", "kubernetes", "process"], var.type)
    error_message = "A work pool on Azure is of type azure-container-instance, azure-container-instance:push, kubernetes or process."
  }
}

variable "worker" {
  description = "Whether the module runs a Prefect worker too: service does, none is for push pools and workers elsewhere."
  type        = string
  default     = "none"

  validation {
    condition     = contains(["none", "service"], var.worker)
    error_message = "worker is none or service."
  }
}

variable "env" {
  description = "Environment variables of every run in the pool. Not for secrets: Prefect gives them back in clear."
  type        = map(string)
  default     = {}

  validation {
    condition     = !contains(keys(var.env), "PREFECT_API_KEY") && !contains(keys(var.env), "PREFECT_API_AUTH_STRING")
    error_message = "Secrets do not stand in env: server names where they are."
  }
}

variable "pipelines" {
  description = "The pipelines that run in the pool by name, each with the prefixes that it reads and writes by bucket, the secrets that it reads, and its image. Each gets an identity; what that may do stands at the buckets and secrets."
  type = map(object({
    reads   = optional(map(set(string)), {})
    writes  = optional(map(set(string)), {})
    secrets = optional(set(string), [])
    image   = optional(string)
  }))
  default = {}
}

variable "location" {
  description = "Where runs are: a region, and a resource group that exists."
  type = object({
    region         = string
    resource_group = string
  })
}

variable "network" {
  description = "The network of runs and worker, as the module network gives it: its id, subnets delegated to container groups, security groups. Null: no network of one's own, and no address."
  type = object({
    id              = optional(string)
    subnets         = list(string)
    security_groups = optional(list(string), [])
  })
  default = null

  validation {
    condition     = try(length(var.network.subnets) > 0, true)
    error_message = "A network has a subnet at least."
  }
}

variable "server" {
  description = "Prefect's API: its address, and the names of secrets of the Key Vault with its key or auth string."
  type = object({
    api_url            = optional(string)
    api_key_secret     = optional(string)
    auth_string_secret = optional(string)
  })
  default = {}
}

variable "image" {
  description = "Image of all runs whose pipeline names none; by default Prefect's own."
  type        = string
  default     = null
}

variable "labels" {
  description = "Tags of all that is made, as in glacier-project and glacier-env."
  type        = map(string)
  default     = {}
}

variable "hardened" {
  description = "Whether to take what costs money: logs of the worker are kept for a year."
  type        = bool
  default     = false
}

variable "cloud" {
  description = "What only Azure has: the principal of a worker elsewhere or of the credentials of a push pool; the id of the Key Vault with the server's secrets; the worker's image; a Log Analytics workspace that exists; whether the roles are those that the module identity has made in the resource group, or others that exist (ids), in place of those made here."
  type = object({
    worker_identity = optional(string)
    key_vault       = optional(string)
    worker_image    = optional(string, "prefecthq/prefect:3-python3.12")
    log_workspace   = optional(string)
    shared_roles    = optional(bool, false)
    roles           = optional(object({ start = optional(string), join = optional(string) }))
  })
  default = {}
}
