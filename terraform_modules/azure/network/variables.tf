variable "name" {
  description = "Name of the virtual network."
  type        = string

  validation {
    condition     = can(regex("^[0-9A-Za-z][0-9A-Za-z_.-]{0,53}[0-9A-Za-z_]$", var.name))
    error_message = "Azure takes a network's name of letters, digits, hyphens, dots and underscores, with a letter or digit first; this module takes 2 to 55 of them."
  }
}

variable "location" {
  description = "Where it is: a region, and a resource group that exists."
  type = object({
    region         = string
    resource_group = string
  })
}

variable "cidr" {
  description = "Addresses of the network: half of them are for runs, a quarter for endpoints, a quarter is left."
  type        = string
  default     = "10.42.0.0/22"

  validation {
    condition     = can(cidrsubnet(var.cidr, 2, 2)) && try(tonumber(split("/", var.cidr)[1]) >= 8 && tonumber(split("/", var.cidr)[1]) <= 27, false)
    error_message = "cidr is as in 10.42.0.0/22, with 8 to 27 bits; Azure's smallest subnet has 29."
  }
}

variable "existing" {
  description = "A network that exists, by its id and those of its subnets delegated to container groups: then nothing is made but what endpoints need."
  type = object({
    id      = string
    subnets = list(string)
  })
  default = null

  validation {
    condition     = try(can(regex("^/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft.Network/virtualNetworks/[^/]+$", var.existing.id)) || var.existing == null, true)
    error_message = "existing.id is a resource id: /subscriptions/ID/resourceGroups/GROUP/providers/Microsoft.Network/virtualNetworks/NAME."
  }
}

variable "public" {
  description = "Whether runs reach the internet, by HTTPS, through a gateway with a public address, which costs money. Nothing comes in either way."
  type        = bool
  default     = false
}

variable "labels" {
  description = "Tags of all that is made, as in glacier-project and glacier-env."
  type        = map(string)
  default     = {}
}

variable "hardened" {
  description = "Whether to take what costs money: logs of what passes, into cloud.flow_logs."
  type        = bool
  default     = false
}

variable "cloud" {
  description = "What only Azure has: private endpoints by a name of your choice (kind blob, registry or vault, and the resource's id), which cost money; their subnet in a network that exists; DNS zones that exist, by kind; where flow logs go."
  type = object({
    endpoints       = optional(map(object({ kind = string, id = string })), {})
    endpoint_subnet = optional(string)
    dns_zones       = optional(map(string), {})
    flow_logs = optional(object({
      storage_account        = string
      watcher                = optional(string)
      watcher_resource_group = optional(string, "NetworkWatcherRG")
    }))
  })
  default = {}

  validation {
    condition     = alltrue([for each in values(var.cloud.endpoints) : contains(["blob", "registry", "vault"], each.kind)])
    error_message = "An endpoint is of kind blob, registry or vault."
  }
}
