variable "volume" {
  description = "The volume that code and frames travel through: /Volumes/CATALOG/SCHEMA/VOLUME. Catalog and schema exist."
  type        = string

  validation {
    condition     = can(regex("^/Volumes(/[^/. [:upper:][:cntrl:]]{1,255}){3}$", var.volume))
    error_message = "A volume is /Volumes/CATALOG/SCHEMA/VOLUME; Unity Catalog's names have no spaces, dots and slashes, and are stored in lower case."
  }
}

variable "existing" {
  description = "Whether the volume is there already; then only rights are given."
  type        = bool
  default     = false
}

variable "storage" {
  description = "Where the volume's files are: url of a folder in a bucket, and credential, a storage credential that reaches it. Managed by Databricks if left out."
  type = object({
    url        = string
    credential = string
  })
  default = null

  validation {
    condition     = var.storage == null || can(regex("^(s3|gs|abfss)://[^/]+/.+$", var.storage.url))
    error_message = "storage.url is a folder in a bucket: s3://…/…, gs://…/… or abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/…"
  }
}

variable "users" {
  description = "Who exchanges through it, by a name of your choice: application ids of service principals, names of groups or users."
  type        = map(object({ identity = string }))
  default     = {}
}

variable "labels" {
  description = "Labels, as in glacier-project and glacier-env. A volume has no place for them: they stand in its comment."
  type        = map(string)
  default     = {}
}
