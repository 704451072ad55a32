terraform {
  required_version = ">= 1.7, < 2.0"

  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = ">= 4.79, < 6.0" # older ones want parent_id for a federated credential, newer ones do not have it
    }
  }
}
