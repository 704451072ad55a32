# Who may connect to what: security groups and endpoints.

resource "aws_security_group" "runs" {
  #checkov:skip=CKV2_AWS_5:work pools and Spark applications attach it to what they run
  region      = var.location.region
  name        = "${var.name}-runs"
  description = "What runs in ${var.name}: nothing is let in."
  vpc_id      = local.id
  tags        = merge(var.labels, { Name = "${var.name}-runs" })
}

resource "aws_vpc_security_group_egress_rule" "runs" {
  for_each          = { for port in var.cloud.egress_ports : tostring(port) => port }
  region            = var.location.region
  security_group_id = aws_security_group.runs.id
  description       = each.value == 443 ? "TLS: services of AWS, API of Prefect" : "Asked for by egress_ports"
  ip_protocol       = "tcp"
  from_port         = each.value
  to_port           = each.value
  cidr_ipv4         = "0.0.0.0/0"
  tags              = var.labels
}

# Costs nothing, and keeps data off the internet and off a NAT gateway's bill.
resource "aws_vpc_endpoint" "s3" {
  count             = local.made || length(var.cloud.route_tables) > 0 ? 1 : 0
  region            = var.location.region
  vpc_id            = local.id
  vpc_endpoint_type = "Gateway"
  service_name      = "com.amazonaws.${local.region}.s3"
  route_table_ids   = local.tables
  tags              = merge(var.labels, { Name = "${var.name}-s3" })
}

resource "aws_security_group" "endpoints" {
  count       = length(var.cloud.endpoints) > 0 ? 1 : 0
  region      = var.location.region
  name        = "${var.name}-endpoints"
  description = "Endpoints of services in ${var.name}: what runs there is let in."
  vpc_id      = local.id
  tags        = merge(var.labels, { Name = "${var.name}-endpoints" })
}

resource "aws_vpc_security_group_ingress_rule" "endpoints" {
  count                        = length(var.cloud.endpoints) > 0 ? 1 : 0
  region                       = var.location.region
  security_group_id            = aws_security_group.endpoints[0].id
  description                  = "TLS from what runs here"
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
  referenced_security_group_id = aws_security_group.runs.id
  tags                         = var.labels
}

resource "aws_vpc_endpoint" "service" {
  for_each            = var.cloud.endpoints
  region              = var.location.region
  vpc_id              = local.id
  vpc_endpoint_type   = "Interface"
  service_name        = "com.amazonaws.${local.region}.${each.value}"
  private_dns_enabled = true
  subnet_ids          = local.subnets
  security_group_ids  = [aws_security_group.endpoints[0].id]
  tags                = merge(var.labels, { Name = "${var.name}-${each.value}" })
}
