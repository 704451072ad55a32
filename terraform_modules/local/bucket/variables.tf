variable "name" {
  description = "Name of the bucket: here, of its folder."
  type        = string

  validation {
    condition     = trimspace(var.name) != "" && !contains([".", ".."], var.name) && !strcontains(var.name, "/")
    error_message = "The name of a local bucket is the name of one folder: not empty, not . or .., and without a slash."
  }
}

variable "location" {
  description = "Where the bucket is. On a disk: the folder that holds all buckets; a relative one is taken from the folder of the root module."
  type = object({
    base_path = optional(string, "data")
  })
  default = {}

  validation {
    condition     = trimspace(var.location.base_path) != ""
    error_message = "location.base_path is the folder that holds the buckets; it cannot be empty."
  }
}

variable "readers" {
  description = "Who may read which prefixes, by a name of your choice. A disk does not enforce it."
  type = map(object({
    identity = optional(string)
    prefixes = optional(set(string), [""])
  }))
  default = {}
}

variable "writers" {
  description = "Who may write which prefixes, by a name of your choice. A disk does not enforce it."
  type = map(object({
    identity = optional(string)
    prefixes = optional(set(string), [""])
  }))
  default = {}
}

variable "labels" {
  description = "Labels of the bucket, as in glacier-project and glacier-env. A disk has no place for them: they are kept in the state."
  type        = map(string)
  default     = {}
}

variable "allow_data_loss" {
  description = "Whether the bucket may be destroyed with what is in it. Takes effect once it is applied, before the destroy."
  type        = bool
  default     = false
}
