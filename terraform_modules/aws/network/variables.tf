variable "name" {
  description = "Name of the network; what is made in it begins with it."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9_-]{0,49}$", var.name)) && !startswith(var.name, "sg-")
    error_message = "A network's name has 1 to 50 letters, digits, - and _, and does not begin with sg-: EC2 and IAM take it for groups and roles."
  }
}

variable "location" {
  description = "Where the network is: its region, if not the provider's."
  type = object({
    region = optional(string)
  })
  default = {}
}

variable "cidr" {
  description = "Addresses of the network; a quarter of them is one subnet."
  type        = string
  default     = "10.42.0.0/22"

  validation {
    condition     = can(cidrhost(var.cidr, 0)) && can(regex("/(1[6-9]|2[0-6])$", var.cidr))
    error_message = "VPC: a network has a block of IPv4 addresses from /16 to /28, as in 10.42.0.0/22; with four subnets in it to /26."
  }
}

variable "existing" {
  description = "A VPC and subnets that are there already: nothing is made in it but security groups and the endpoints that are asked for."
  type = object({
    id      = string
    subnets = list(string)
  })
  default = null
}

variable "public" {
  description = "Whether what runs here may have public addresses: a way to and from the internet. Nothing is let in by the security group."
  type        = bool
  default     = false
}

variable "labels" {
  description = "Tags of all that is made, as in glacier-project and glacier-env."
  type        = map(string)
  default     = {}
}

variable "hardened" {
  description = "Whether to turn on what costs money: a log of all connections, with a key of its own (KMS), kept for a year."
  type        = bool
  default     = false
}

variable "cloud" {
  description = "What only AWS has. nat: a NAT gateway, so that private subnets reach the internet. endpoints: services of AWS that are reached without it, as in ecr.api. route_tables: those of existing subnets, which get the endpoint of S3. egress_ports: ports that may be connected to outside. permissions_boundary: ARN of the boundary of the role that writes the log."
  type = object({
    nat                  = optional(bool, false)
    endpoints            = optional(set(string), [])
    route_tables         = optional(set(string), [])
    egress_ports         = optional(set(number), [443])
    permissions_boundary = optional(string)
  })
  default = {}

  validation {
    condition     = alltrue([for name in var.cloud.endpoints : can(regex("^[a-z0-9.-]+$", name)) && !contains(["s3", "dynamodb"], name)])
    error_message = "cloud.endpoints has names of services as in com.amazonaws.REGION.NAME: ecr.api, ecr.dkr, logs, secretsmanager, sts. The one of S3 is always there and costs nothing."
  }
}
