variable "name" {
  description = "Name of the Prefect work pool."
  type        = string

  validation {
    condition     = can(regex("^[^/%&<>]+$", var.name))
    error_message = "Prefect takes a name that is not empty and has none of / % & < >."
  }
}

variable "type" {
  description = "Prefect's type of the work pool: ecs, or ecs:push where Prefect Cloud starts the runs itself."
  type        = string
  default     = "ecs"

  validation {
    condition     = contains(["ecs", "ecs:push"], var.type)
    error_message = "A work pool on AWS is of type ecs or ecs:push."
  }
}

variable "worker" {
  description = "Whether the module runs a Prefect worker too: service (one task of ECS that is always there), or none for push pools and for workers elsewhere."
  type        = string
  default     = "none"

  validation {
    condition     = contains(["none", "service"], var.worker)
    error_message = "A worker is none or service."
  }
}

variable "env" {
  description = "Environment variables of every run in the pool. Not for secrets: Prefect gives them back in clear."
  type        = map(string)
  default     = {}
}

variable "pipelines" {
  description = "The pipelines that run in the pool by name, each with the prefixes that it reads and writes by bucket, the buckets in which it lists all names (not only below its prefixes, as a Delta table needs it), the secrets that it reads by their names in Secrets Manager, and its image if not the pool's. Each has a role of its own that may do just this."
  type = map(object({
    reads   = optional(map(set(string)), {})
    writes  = optional(map(set(string)), {})
    lists   = optional(set(string), [])
    secrets = optional(set(string), [])
    image   = optional(string)
  }))
  default = {}
}

variable "location" {
  description = "Where runs are: the region, if not the provider's."
  type = object({
    region = optional(string)
  })
  default = {}
}

variable "network" {
  description = "Where runs are in the network, as the module network says: a VPC, its subnets and security groups. None: the worker takes the account's default VPC, where runs have a public address."
  type = object({
    id              = string
    subnets         = list(string)
    security_groups = optional(list(string), [])
  })
  default = null
}

variable "server" {
  description = "The Prefect server: its address, and the names (or ARNs) in Secrets Manager of the API key and of the auth string."
  type = object({
    api_url            = optional(string)
    api_key_secret     = optional(string)
    auth_string_secret = optional(string)
  })
  default = {}
}

variable "image" {
  description = "Image of runs, and of the worker. None: runs have Prefect's own, in the version of the worker."
  type        = string
  default     = null
}

variable "labels" {
  description = "Tags of all that is made and of the tasks of runs, as in glacier-project and glacier-env."
  type        = map(string)
  default     = {}
}

variable "hardened" {
  description = "Whether to turn on what costs money: a key of the account's own (KMS) for logs, which are kept for a year, and metrics of containers. It also lets runs use the keys of hardened buckets and secrets."
  type        = bool
  default     = false
}

variable "cloud" {
  description = "What only AWS has. permissions_boundary: ARN of the boundary of all roles. log_days: how long logs are kept. launch_type, cpu, memory: of runs. public_address: whether runs have one, for a network with a way out only for those. worker_image, worker_cpu, worker_memory: of the worker. worker_principals: ARNs of who may take the worker's role, for workers elsewhere."
  type = object({
    permissions_boundary = optional(string)
    log_days             = optional(number, 30)
    launch_type          = optional(string, "FARGATE")
    cpu                  = optional(number)
    memory               = optional(number)
    public_address       = optional(bool, false)
    worker_image         = optional(string)
    worker_cpu           = optional(number, 256)
    worker_memory        = optional(number, 1024)
    worker_principals    = optional(set(string), [])
  })
  default = {}

  validation {
    condition     = contains(["FARGATE", "FARGATE_SPOT"], var.cloud.launch_type)
    error_message = "cloud.launch_type is FARGATE or FARGATE_SPOT: the cluster has no machines of its own."
  }
}
