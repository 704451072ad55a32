variable "name" {
  description = "Name of the Prefect work pool."
  type        = string

  validation {
    condition     = can(regex("^[^/%&<>]+$", var.name))
    error_message = "Prefect takes a name that is not empty and has none of / % & < >."
  }
}

variable "type" {
  description = "Prefect's type of the work pool: cloud-run-v2, or cloud-run-v2:push, whose runs Prefect Cloud starts."
  type        = string
  default     = "cloud-run-v2"

  validation {
    condition     = contains(["cloud-run-v2", "cloud-run-v2:push"], var.type)
    error_message = "A work pool in Google Cloud is of type cloud-run-v2 or cloud-run-v2:push."
  }
}

variable "worker" {
  description = "Whether the module runs a Prefect worker too: service, in Cloud Run, which costs money all the time; or none, for push pools and for workers elsewhere."
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
}

variable "pipelines" {
  description = "The pipelines that run in the pool by name. Each gets a service account of its own; what it reads and writes is granted by the module bucket, and its secrets by the module secrets, to identities[name]."
  type = map(object({
    reads   = optional(map(set(string)), {})
    writes  = optional(map(set(string)), {})
    secrets = optional(set(string), [])
    image   = optional(string)
  }))
  default = {}
}

variable "location" {
  description = "Where runs are: a Google Cloud project, and a region as in us-central1."
  type = object({
    project = string
    region  = string
  })
}

variable "network" {
  description = "Network of runs and worker, as the module network gives it: its id and subnets. Runs get to it through a connector, which costs money; null for none."
  type = object({
    id              = string
    subnets         = set(string)
    security_groups = optional(set(string), [])
  })
  default = null

  validation {
    condition     = var.network == null ? true : length(var.network.subnets) > 0
    error_message = "network.subnets has at least one subnet."
  }
}

variable "server" {
  description = "The Prefect server: its address, and the names in Secret Manager of the API key and of the auth string, which the worker and all runs may then read."
  type = object({
    api_url            = optional(string)
    api_key_secret     = optional(string)
    auth_string_secret = optional(string)
  })
  default = {}
}

variable "image" {
  description = "Image of runs, as in europe-west1-docker.pkg.dev/my-project/images/shop:1; null for Prefect's own."
  type        = string
  default     = null
}

variable "labels" {
  description = "Labels of all that is made and of all runs, as in glacier-project and glacier-env; what Google does not take in them is replaced by _."
  type        = map(string)
  default     = {}
}

variable "hardened" {
  description = "The same in every cloud. Here it makes the worker run only images that the project's Binary Authorization policy lets in."
  type        = bool
  default     = false
}

variable "cloud" {
  description = "What only Google Cloud has: worker_identity (a principal that starts runs, in place of a service account made here), worker_role (a custom role in place of the one made here), worker_image, connector (an existing connector to the network), connector_cidr (a free /28 of the network for the one made here), job (more of Prefect's job variables, as cpu, memory and timeout)."
  type = object({
    worker_identity = optional(string)
    worker_role     = optional(string)
    worker_image    = optional(string, "docker.io/prefecthq/prefect:3-latest")
    connector       = optional(string)
    connector_cidr  = optional(string, "10.42.4.0/28")
    job = optional(object({
      cpu     = optional(string)
      memory  = optional(string)
      timeout = optional(number)
    }), {})
  })
  default = {}

  validation {
    condition     = can(cidrhost(var.cloud.connector_cidr, 0)) && endswith(var.cloud.connector_cidr, "/28")
    error_message = "cloud.connector_cidr is a range of 16 addresses, as in 10.42.4.0/28."
  }
}
