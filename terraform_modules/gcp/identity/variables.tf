variable "name" {
  description = "Name of the trust, in descriptions, as in acme/prod."
  type        = string

  validation {
    condition     = trimspace(var.name) != "" && length(var.name) <= 60
    error_message = "name has 1 to 60 characters."
  }
}

variable "location" {
  description = "What may be deployed to: a Google Cloud project, and a region as in us-central1."
  type = object({
    project = string
    region  = string
  })
}

variable "repository" {
  description = "The one repository of GitHub that is trusted, as in acme/shop."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9-]+/[A-Za-z0-9._-]+$", var.repository))
    error_message = "repository is owner/name, as GitHub takes them."
  }
}

variable "branch" {
  description = "The one branch from which may be deployed, if no environment is given."
  type        = string
  default     = "main"

  validation {
    condition     = can(regex("^[A-Za-z0-9._/-]+$", var.branch)) && !startswith(var.branch, "refs/")
    error_message = "branch is the name of one branch of letters, digits and . _ / -, without refs/heads/."
  }
}

variable "github_environment" {
  description = "The one environment of GitHub from which may be deployed, in place of the branch: its rules say which branches, and who agrees."
  type        = string
  default     = null

  validation {
    condition     = var.github_environment == null ? true : can(regex("^[A-Za-z0-9._-]+$", var.github_environment))
    error_message = "github_environment is a name of letters, digits and . _ -."
  }
}

variable "kinds" {
  description = "Kinds of modules that may be made: bucket, work_pool, network, registry, secrets, spark."
  type        = set(string)

  validation {
    condition     = length(setsubtract(var.kinds, ["bucket", "work_pool", "network", "registry", "secrets", "spark"])) == 0
    error_message = "kinds are of bucket, work_pool, network, registry, secrets, spark; state, identity and budget are made by a person."
  }
}

variable "prefix" {
  description = "Prefix of the names of the project's resources, as in glacier-shop-prod: they are it, or go on with a dash."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,38}[a-z0-9]$", var.prefix)) && !startswith(var.prefix, "gcp-")
    error_message = "prefix has 3 to 40 small letters a to z, digits and -, a letter at the start and no - at the end; Google keeps gcp- for itself."
  }
}

variable "buckets" {
  description = "Names of the buckets that the project uses, for those that do not begin with prefix."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for name in var.buckets : can(regex("^[a-z0-9][a-z0-9_-]{1,61}[a-z0-9]$", name))]) && length(var.buckets) <= 100
    error_message = "buckets are at most 100 names of buckets, as the module bucket takes them."
  }
}

variable "state" {
  description = "Id of the state's bucket, as the module state gives it."
  type        = string
}

variable "labels" {
  description = "The same in every cloud. Google has no labels on accounts, roles and pools, so they are in the descriptions."
  type        = map(string)
  default     = {}
}

variable "hardened" {
  description = "Whether modules may be hardened, which takes the right to make keys."
  type        = bool
  default     = false
}

variable "previews" {
  description = "Whether who plans may make and remove previews: write and delete what is kept of them beside the state, and what is below .glacier/preview/ in the project's buckets, where these have it among their writers."
  type        = bool
  default     = false
}

variable "cloud" {
  description = "What only Google Cloud has: project (of the trust and its two accounts, in place of location.project), account_policies (whether deploy may act as the accounts of location.project, and say who else may), repository_id (GitHub's number of the repository, which no other gets by taking its name), state_prefix (what the names of the project's states begin with), kept (what those begin with that only a person writes, as the state of this module), secrets (names of the project's secrets that do not begin with prefix), project_number and identity_project_number (looked up if null)."
  type = object({
    project                 = optional(string)
    account_policies        = optional(bool, false)
    repository_id           = optional(string)
    state_prefix            = optional(string, "")
    kept                    = optional(string)
    secrets                 = optional(set(string), [])
    project_number          = optional(string)
    identity_project_number = optional(string)
  })
  default = {}

  validation {
    condition     = var.cloud.repository_id == null ? true : can(regex("^[0-9]+$", var.cloud.repository_id))
    error_message = "cloud.repository_id is a number."
  }
  validation {
    condition     = alltrue([for name in var.cloud.secrets : can(regex("^[A-Za-z0-9_-]{1,255}$", name))])
    error_message = "cloud.secrets are names of secrets, of letters, digits, - and _."
  }
}
