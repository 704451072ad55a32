variable "name" {
  description = "Name of the repository."
  type        = string

  validation {
    condition     = can(regex("^(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*$", var.name)) && length(var.name) >= 2 && length(var.name) <= 256
    error_message = "ECR: a repository's name has 2 to 256 small letters and digits, with single . _ - / between them."
  }
}

variable "location" {
  description = "Where the repository is: its region, if not the provider's."
  type = object({
    region = optional(string)
  })
  default = {}
}

variable "keep_images" {
  description = "How many images are kept; older ones go."
  type        = number
  default     = 20

  validation {
    condition     = var.keep_images >= 1 && floor(var.keep_images) == var.keep_images
    error_message = "ECR: a whole number of images is kept, at least 1."
  }
}

variable "untagged_days" {
  description = "Days after which images without a tag go."
  type        = number
  default     = 7

  validation {
    condition     = var.untagged_days >= 1 && floor(var.untagged_days) == var.untagged_days
    error_message = "ECR: a lifecycle rule has a whole number of days, at least 1."
  }
}

variable "readers" {
  description = "Who may pull images, by a name of your choice: ARN of a role or user. Tasks of a work pool have this right already, if it names the image."
  type = map(object({
    identity = string
  }))
  default = {}
}

variable "writers" {
  description = "Who may push images (and pull them), by a name of your choice: ARN of a role or user."
  type = map(object({
    identity = string
  }))
  default = {}
}

variable "labels" {
  description = "Tags of all that is made, as in glacier-project and glacier-env."
  type        = map(string)
  default     = {}
}

variable "hardened" {
  description = "Whether to turn on what costs money: a key of the account's own (KMS) in place of the registry's. Decided when the repository is made."
  type        = bool
  default     = false
}

variable "allow_data_loss" {
  description = "Whether the repository may be destroyed with the images in it. Takes effect once it is applied, before the destroy."
  type        = bool
  default     = false
}

variable "cloud" {
  description = "What only AWS has: nothing yet."
  type        = object({})
  default     = {}
}
