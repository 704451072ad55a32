variable "name" {
  description = "Name of the application, with which the names of its jobs' roles begin."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9._/#-]{0,39}$", var.name))
    error_message = "EMR Serverless: an application's name has letters, digits and . _ / # -; here 40 at most, since roles begin with it."
  }
}

variable "location" {
  description = "Where the application is: its region, if not the provider's."
  type = object({
    region = optional(string)
  })
  default = {}
}

variable "pipelines" {
  description = "The pipelines with bodies that run as jobs, by name, each with the prefixes that these read and write by bucket, and the secrets that they read by their names in Secrets Manager. Each has a role of its own that may do just this."
  type = map(object({
    reads   = optional(map(set(string)), {})
    writes  = optional(map(set(string)), {})
    secrets = optional(set(string), [])
    image   = optional(string)
  }))
  default = {}
}

variable "network" {
  description = "Where jobs are in the network, as the module network says. None: they reach S3 and no more than AWS's services in the region."
  type = object({
    id              = string
    subnets         = list(string)
    security_groups = optional(list(string), [])
  })
  default = null
}

variable "submitters" {
  description = "Who may submit jobs, by pipeline: ARN of the role of its runs. It may pass the role of that pipeline's jobs and no other."
  type = map(object({
    identity = string
  }))
  default = {}

  validation {
    condition     = alltrue([for submitter in var.submitters : can(regex("^arn:[^:]+:iam::[0-9]*[^:]*:role/.+$", submitter.identity))])
    error_message = "A submitter's identity is the ARN of a role in this account, which gets the right to submit."
  }
}

variable "labels" {
  description = "Tags of all that is made, as in glacier-project and glacier-env."
  type        = map(string)
  default     = {}
}

variable "hardened" {
  description = "Whether the buckets and secrets are hardened: jobs may then use their keys (KMS)."
  type        = bool
  default     = false
}

variable "cloud" {
  description = "What only AWS has. permissions_boundary: ARN of the boundary of all roles. release, architecture: of EMR. archive: address (s3://…) of the packed environment of jobs, which they may read. idle_minutes: after which it stops. max_vcpu, max_memory_gb, max_disk_gb: what all its jobs may use at once."
  type = object({
    permissions_boundary = optional(string)
    release              = optional(string, "emr-7.9.0")
    architecture         = optional(string, "X86_64")
    archive              = optional(string)
    idle_minutes         = optional(number, 5)
    max_vcpu             = optional(number, 32)
    max_memory_gb        = optional(number, 128)
    max_disk_gb          = optional(number, 400)
  })
  default = {}

  validation {
    condition     = var.cloud.archive == null || can(regex("^s3://[^/]+/.+$", var.cloud.archive))
    error_message = "cloud.archive is the address of an object, as in s3://acme-prod-code/environment.tar.gz."
  }
  validation {
    condition     = contains(["ARM64", "X86_64"], var.cloud.architecture)
    error_message = "cloud.architecture is ARM64 or X86_64, as the packages in the archive are."
  }
}
