variable "name" {
  description = "Name of what is made, in descriptions and ids, as in glacier-acme-prod."
  type        = string

  validation {
    condition     = trimspace(var.name) != "" && length(var.name) <= 60
    error_message = "name has 1 to 60 characters."
  }
}

variable "location" {
  description = "Where jobs run: a Google Cloud project, and a region as in us-central1."
  type = object({
    project = string
    region  = string
  })
}

variable "pipelines" {
  description = "The pipelines that submit Spark jobs by name. The jobs of each run as a service account of its own; what it reads and writes is granted by the module bucket to identities[name]."
  type = map(object({
    reads   = optional(map(set(string)), {})
    writes  = optional(map(set(string)), {})
    secrets = optional(set(string), [])
    image   = optional(string)
  }))
  default = {}
}

variable "network" {
  description = "Network of jobs, as the module network gives it: its id and subnets, whose machines may connect to each other; null for the project's network default."
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

variable "submitters" {
  description = "Who may submit jobs, by name; identity as in serviceAccount:daily@my-project.iam.gserviceaccount.com. One with the name of a pipeline submits jobs of that pipeline only, any other those of all."
  type = map(object({
    identity = string
  }))
  default = {}
}

variable "labels" {
  description = "The same in every cloud. Google has no labels on accounts, so they are in the descriptions."
  type        = map(string)
  default     = {}
}

variable "hardened" {
  description = "The same in every cloud. Nothing here costs money, so it changes nothing."
  type        = bool
  default     = false
}

variable "cloud" {
  description = "What only Google Cloud has: container_image and archive (of jobs, as SparkExecutor takes them), roles (custom roles in place of those made here)."
  type = object({
    container_image = optional(string)
    archive         = optional(string)
    roles = optional(object({
      run     = optional(string)
      staging = optional(string)
      submit  = optional(string)
    }), {})
  })
  default = {}
}
