variable "name" {
  description = "Name of the network."
  type        = string

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,48}[a-z0-9])?$", var.name))
    error_message = "Google takes a network name of small letters a to z, digits and -, with a letter at the start and no - at the end; 50 characters at most here, since what is made is named after it."
  }
}

variable "location" {
  description = "Where the network is: a Google Cloud project, and the region of its subnet, as in us-central1."
  type = object({
    project = string
    region  = string
  })
}

variable "cidr" {
  description = "Private addresses of the subnet."
  type        = string
  default     = "10.42.0.0/22"

  validation {
    condition     = can(cidrhost(var.cidr, 0)) && can(regex("^(10\\.|172\\.(1[6-9]|2[0-9]|3[01])\\.|192\\.168\\.).*/([89]|[12][0-9])$", var.cidr))
    error_message = "cidr is a private range (10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16), of /8 to /29, as Google takes it for a subnet."
  }
}

variable "existing" {
  description = "A network that is there, in place of one made here: its id and subnets. Then nothing is made, since Google's services need no endpoints."
  type = object({
    id      = string
    subnets = set(string)
  })
  default = null

  validation {
    condition     = var.existing == null ? true : length(var.existing.subnets) > 0
    error_message = "existing.subnets has at least one subnet."
  }
}

variable "public" {
  description = "Whether what is in the network gets out to the internet, through an address that is made for it; it costs money. Nobody gets in."
  type        = bool
  default     = false
}

variable "labels" {
  description = "The same in every cloud. Google has no labels on networks, so they are in the descriptions."
  type        = map(string)
  default     = {}
}

variable "hardened" {
  description = "What costs money: logs of all connections, and of those that were refused."
  type        = bool
  default     = false
}

variable "cloud" {
  description = "What only Google Cloud has: internal (whether machines of the subnet may connect to each other, as Dataproc's do)."
  type = object({
    internal = optional(bool, false)
  })
  default = {}
}
