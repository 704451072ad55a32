variable "name" {
  description = "Name of the repository."
  type        = string

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$", var.name))
    error_message = "Google takes a repository name of 1 to 63 small letters a to z, digits and -, with a letter at the start and no - at the end."
  }
}

variable "location" {
  description = "Where the repository is: a Google Cloud project, and a region as in us-central1."
  type = object({
    project = string
    region  = string
  })
}

variable "keep_images" {
  description = "How many of the newest images of each name are kept."
  type        = number
  default     = 20

  validation {
    condition     = var.keep_images >= 1 && floor(var.keep_images) == var.keep_images
    error_message = "keep_images is a whole number, at least 1."
  }
}

variable "untagged_days" {
  description = "Days until an image without a tag is deleted, if it is not among those kept."
  type        = number
  default     = 7

  validation {
    condition     = var.untagged_days >= 1 && floor(var.untagged_days) == var.untagged_days
    error_message = "untagged_days are whole days, at least 1."
  }
}

variable "readers" {
  description = "Who may pull images, by a name of your choice; identity as in serviceAccount:worker@my-project.iam.gserviceaccount.com."
  type = map(object({
    identity = string
  }))
  default = {}
}

variable "writers" {
  description = "Who may pull and push images, by a name of your choice; identity as in serviceAccount:builds@my-project.iam.gserviceaccount.com."
  type = map(object({
    identity = string
  }))
  default = {}
}

variable "labels" {
  description = "Labels of all that is made, as in glacier-project and glacier-env; what Google does not take in them is replaced by _."
  type        = map(string)
  default     = {}
}

variable "hardened" {
  description = "What costs money: images are scanned when they are pushed, if the project has the API containerscanning.googleapis.com on, and are encrypted with a key of your own, which is replaced every 90 days."
  type        = bool
  default     = false
}

variable "allow_data_loss" {
  description = "The same in every cloud. Google destroys a repository with its images in any case, so it changes nothing here; Glacier asks first."
  type        = bool
  default     = false
}

variable "cloud" {
  description = "What only Google Cloud has: kms_key (an own key, in place of the one that hardened makes), project_number (looked up if null, when hardened makes a key), immutable_tags (a tag stays on its image)."
  type = object({
    kms_key        = optional(string)
    project_number = optional(string)
    immutable_tags = optional(bool, false)
  })
  default = {}
}
