variable "name" {
  description = "Name of the two roles, NAME-plan and NAME-deploy, and of their policies."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9_-]{0,49}$", var.name))
    error_message = "IAM: a role's name has 64 letters, digits, - and _ at most; 14 of them are the module's."
  }
}

variable "location" {
  description = "Where the project's resources are: the region, if not the provider's."
  type = object({
    region = optional(string)
  })
  default = {}
}

variable "repository" {
  description = "The repository on GitHub whose workflows are trusted, as in owner/name."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+$", var.repository))
    error_message = "GitHub: a repository is owner/name, of letters, digits, - and in the name also . and _."
  }
}

variable "branch" {
  description = "The branch whose workflows may deploy."
  type        = string
  default     = "main"

  validation {
    condition     = can(regex("^[^\\s*?~^:\\\\\\[]+$", var.branch))
    error_message = "Git: a branch's name has no spaces and none of * ? ~ ^ : \\ [."
  }
}

variable "github_environment" {
  description = "The environment on GitHub whose jobs may deploy, in place of the branch: GitHub then asks its reviewers."
  type        = string
  default     = null

  validation {
    condition     = var.github_environment == null || can(regex("^[^*?:]+$", coalesce(var.github_environment, "-")))
    error_message = "The name of an environment on GitHub that is trusted has none of * ? and :."
  }
}

variable "kinds" {
  description = "Kinds of modules that may be made: bucket, budget, network, registry, secrets, spark, work_pool."
  type        = set(string)
  default     = ["bucket", "work_pool"]

  validation {
    condition     = length(setsubtract(var.kinds, ["bucket", "budget", "network", "registry", "secrets", "spark", "work_pool"])) == 0
    error_message = "kinds are bucket, budget, network, registry, secrets, spark and work_pool."
  }
}

variable "prefix" {
  description = "What the names of the project's resources begin with, as in glacier-shop-prod."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9_-]{3,39}$", var.prefix))
    error_message = "A prefix has 4 to 40 letters, digits, - and _: a shorter one would cover what others have made."
  }
}

variable "buckets" {
  description = "Names of the buckets that the project uses."
  type        = set(string)
  default     = []
}

variable "state" {
  description = "The bucket with Terraform's state, as the module state gives its id: an ARN."
  type        = string

  validation {
    condition     = can(regex("^arn:[^:]+:s3:::[a-z0-9.-]+$", var.state))
    error_message = "state is the ARN of a bucket, as in arn:aws:s3:::acme-terraform-state."
  }
}

variable "labels" {
  description = "Tags of all that is made, as in glacier-project and glacier-env. What has no name of its own is told to be the project's by its tag glacier-project."
  type        = map(string)
  default     = {}
}

variable "hardened" {
  description = "Whether the project's modules and its state are hardened: the roles may then make and use keys (KMS)."
  type        = bool
  default     = false
}

variable "previews" {
  description = "Whether who plans may make and remove previews: write and delete what is kept of them beside the state, and what is below .glacier/preview/ in the project's buckets."
  type        = bool
  default     = false
}

variable "cloud" {
  description = "What only AWS has. provider_arn: GitHub's provider where the account has it already. state_prefix: what the keys of the project's states begin with. kept: what the keys of those begin with that only a person writes, as the state of this module. secrets: what the names of the project's secrets begin with; the prefix if not given."
  type = object({
    provider_arn = optional(string)
    state_prefix = optional(string, "")
    kept         = optional(string)
    secrets      = optional(set(string))
  })
  default = {}
}
