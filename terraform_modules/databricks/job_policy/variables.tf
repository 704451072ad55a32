variable "name" {
  description = "Name of the policy, the principal and the scope. Made of the labels and of what runs are on, if left out."
  type        = string
  default     = null

  validation {
    condition     = var.name == null || can(regex("^[A-Za-z0-9_.@-]{1,128}$", var.name))
    error_message = "Databricks takes for a secret scope 1 to 128 letters, digits and _ . @ -."
  }
}

variable "new_cluster" {
  description = "Runs are on clusters of their own: what the cluster policy fixes of them, as the Jobs API spells it."
  type = object({
    spark_version      = optional(string)
    node_type_id       = optional(string)
    instance_pool_id   = optional(string)
    num_workers        = optional(number)
    autoscale          = optional(object({ min_workers = number, max_workers = number }))
    data_security_mode = optional(string)
  })
  default = null

  validation {
    condition     = var.new_cluster == null || try(var.new_cluster.num_workers == null || var.new_cluster.autoscale == null, true)
    error_message = "A cluster has num_workers or autoscale, not both."
  }
}

variable "cluster_id" {
  description = "Runs are on this cluster, which exists."
  type        = string
  default     = null
}

variable "job_id" {
  description = "Runs are those of this job, which exists."
  type        = number
  default     = null
}

variable "exclusive" {
  description = "Whether the rights on that job or cluster are set here: those of all others but its owner's and administrators' are taken away."
  type        = bool
  default     = false

  validation {
    condition     = !var.exclusive || var.cluster_id != null || var.job_id != null
    error_message = "exclusive is for a job or a cluster that exists: it wants job_id or cluster_id."
  }
}

variable "identity" {
  description = "Application id of the service principal that submits runs. One is made if left out."
  type        = string
  default     = null
}

variable "submitters" {
  description = "Identities of Azure that submit runs, by a name of your choice: their application ids. Each becomes a service principal of the workspace; no other is made then."
  type        = map(object({ identity = string }))
  default     = {}

  validation {
    condition     = length(var.submitters) == 0 || var.identity == null
    error_message = "Runs are submitted by identity, or by submitters."
  }
}

variable "labels" {
  description = "Labels, as in glacier-project and glacier-env: tags of clusters that the policy fixes."
  type        = map(string)
  default     = {}
}
