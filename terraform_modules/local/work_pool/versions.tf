# `terraform_data` is built in: this module downloads no plugin.
terraform {
  required_version = ">= 1.7, < 2.0"
}
