variable "name" {
  description = "Name of the Prefect work pool."
  type        = string

  validation {
    condition     = can(regex("^[^/%&<>]+$", var.name))
    error_message = "Prefect takes a name that is not empty and has none of / % & < >."
  }
}

variable "type" {
  description = "Prefect's type of the work pool. On one machine: process."
  type        = string
  default     = "process"

  validation {
    condition     = var.type == "process"
    error_message = "A local work pool is of type process."
  }
}

variable "worker" {
  description = "Whether the module runs a Prefect worker too: none, since on one machine you start it yourself (prefect worker start --pool NAME)."
  type        = string
  default     = "none"

  validation {
    condition     = var.worker == "none"
    error_message = "A local work pool runs no worker: start one with prefect worker start --pool NAME."
  }
}

variable "env" {
  description = "Environment variables of every run in the pool. Not for secrets: Prefect gives them back in clear."
  type        = map(string)
  default     = {}
}

variable "pipelines" {
  description = "The pipelines that run in the pool by name, each with the prefixes that it reads and writes by bucket. All processes of a machine have the rights of its user, so nothing is enforced here."
  type = map(object({
    reads  = optional(map(set(string)), {})
    writes = optional(map(set(string)), {})
  }))
  default = {}
}

variable "labels" {
  description = "Labels of the work pool, as in glacier-project and glacier-env. Prefect has no place for them: they are kept in the state."
  type        = map(string)
  default     = {}
}
