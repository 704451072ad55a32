data "aws_region" "here" {
  region = var.location.region
}

data "aws_availability_zones" "here" {
  #checkov:skip=CKV_AWS_394:two zones are taken when subnets are made, which then stay where they are
  region = var.location.region
  state  = "available"

  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

locals {
  region = data.aws_region.here.region
  made   = var.existing == null
  id     = local.made ? aws_vpc.network[0].id : var.existing.id

  # Two zones; where their names are not to be had, AWS chooses.
  zones   = { for index, letter in ["a", "b"] : letter => { index = index, name = try(sort(data.aws_availability_zones.here.names)[index], null) } }
  private = local.made && !var.public ? local.zones : {}
  open    = { for letter, zone in local.zones : letter => zone if local.made && (var.public || (var.cloud.nat && letter == "a")) }
  nat     = local.made && var.cloud.nat && !var.public

  subnets = local.made ? [for subnet in values(var.public ? aws_subnet.public : aws_subnet.private) : subnet.id] : var.existing.subnets
  tables  = local.made ? concat(aws_route_table.private[*].id, aws_route_table.public[*].id) : sort(var.cloud.route_tables)
}

resource "aws_vpc" "network" {
  #checkov:skip=CKV2_AWS_12:nothing is put into the default group; to empty it needs rights over groups that the project did not make
  count                = local.made ? 1 : 0
  region               = var.location.region
  cidr_block           = var.cidr
  enable_dns_hostnames = true # endpoints are found by the services' own names
  enable_dns_support   = true
  tags                 = merge(var.labels, { Name = var.name })
}

resource "aws_subnet" "private" {
  for_each          = local.private
  region            = var.location.region
  vpc_id            = aws_vpc.network[0].id
  cidr_block        = cidrsubnet(var.cidr, 2, each.value.index)
  availability_zone = each.value.name
  tags              = merge(var.labels, { Name = "${var.name}-private-${each.key}" })

  lifecycle {
    ignore_changes = [availability_zone] # a zone that is added or taken away moves no subnet
  }
}

# Nothing gets a public address here unless it asks for one.
resource "aws_subnet" "public" {
  for_each                = local.open
  region                  = var.location.region
  vpc_id                  = aws_vpc.network[0].id
  cidr_block              = cidrsubnet(var.cidr, 2, 2 + each.value.index)
  availability_zone       = each.value.name
  map_public_ip_on_launch = false
  tags                    = merge(var.labels, { Name = "${var.name}-public-${each.key}" })

  lifecycle {
    ignore_changes = [availability_zone] # a zone that is added or taken away moves no subnet
  }
}

resource "aws_route_table" "private" {
  count  = length(local.private) > 0 ? 1 : 0
  region = var.location.region
  vpc_id = aws_vpc.network[0].id
  tags   = merge(var.labels, { Name = "${var.name}-private" })
}

resource "aws_route_table_association" "private" {
  for_each       = local.private
  region         = var.location.region
  subnet_id      = aws_subnet.private[each.key].id
  route_table_id = aws_route_table.private[0].id
}

resource "aws_route_table" "public" {
  count  = length(local.open) > 0 ? 1 : 0
  region = var.location.region
  vpc_id = aws_vpc.network[0].id
  tags   = merge(var.labels, { Name = "${var.name}-public" })
}

resource "aws_route_table_association" "public" {
  for_each       = local.open
  region         = var.location.region
  subnet_id      = aws_subnet.public[each.key].id
  route_table_id = aws_route_table.public[0].id
}

resource "aws_internet_gateway" "network" {
  count  = length(local.open) > 0 ? 1 : 0
  region = var.location.region
  vpc_id = aws_vpc.network[0].id
  tags   = merge(var.labels, { Name = var.name })
}

resource "aws_route" "public" {
  count                  = length(local.open) > 0 ? 1 : 0
  region                 = var.location.region
  route_table_id         = aws_route_table.public[0].id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.network[0].id
}

resource "aws_eip" "nat" {
  count  = local.nat ? 1 : 0
  region = var.location.region
  domain = "vpc"
  tags   = merge(var.labels, { Name = "${var.name}-nat" })
}

resource "aws_nat_gateway" "network" {
  count         = local.nat ? 1 : 0
  region        = var.location.region
  allocation_id = aws_eip.nat[0].id
  subnet_id     = aws_subnet.public["a"].id
  tags          = merge(var.labels, { Name = var.name })

  depends_on = [aws_route.public]
}

resource "aws_route" "nat" {
  count                  = local.nat ? 1 : 0
  region                 = var.location.region
  route_table_id         = aws_route_table.private[0].id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = aws_nat_gateway.network[0].id
}
