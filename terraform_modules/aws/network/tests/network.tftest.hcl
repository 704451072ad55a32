mock_provider "aws" {
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_region" {
    defaults = { region = "eu-west-1" }
  }
  mock_data "aws_availability_zones" {
    defaults = { names = ["eu-west-1c", "eu-west-1a", "eu-west-1b"] }
  }
}

variables {
  name = "glacier-acme-prod"
}

run "two_private_subnets_in_two_zones" {
  command = plan
  assert {
    condition     = [for subnet in values(aws_subnet.private) : [subnet.cidr_block, subnet.availability_zone]] == [["10.42.0.0/24", "eu-west-1a"], ["10.42.1.0/24", "eu-west-1b"]]
    error_message = "Expected a quarter of the addresses in each of two zones."
  }
}

run "no_way_to_the_internet_unless_asked_for" {
  command = plan
  assert {
    condition     = length(aws_subnet.public) == 0 && length(aws_internet_gateway.network) == 0 && length(aws_eip.nat) == 0
    error_message = "Expected no public subnet, gateway or address."
  }
}

run "costs_nothing_unless_asked_for" {
  command = plan
  assert {
    condition     = length(aws_vpc_endpoint.service) == 0 && length(aws_nat_gateway.network) == 0 && length(aws_flow_log.network) == 0
    error_message = "Expected no endpoints that cost, no NAT gateway and no log of connections."
  }
}

run "s3_is_reached_without_the_internet" {
  command = plan
  assert {
    condition     = aws_vpc_endpoint.s3[0].vpc_endpoint_type == "Gateway" && aws_vpc_endpoint.s3[0].service_name == "com.amazonaws.eu-west-1.s3"
    error_message = "Expected the gateway endpoint of S3."
  }
}

run "only_tls_goes_out" {
  command = plan
  assert {
    condition     = [for rule in values(aws_vpc_security_group_egress_rule.runs) : [rule.from_port, rule.to_port]] == [[443, 443]]
    error_message = "Expected port 443 and no other."
  }
}

run "ports_that_go_out_are_chosen" {
  command = plan
  variables {
    cloud = { egress_ports = [443, 5432] }
  }
  assert {
    condition     = keys(aws_vpc_security_group_egress_rule.runs) == ["443", "5432"]
    error_message = "Expected the ports given."
  }
}

run "gives_what_work_pools_take" {
  command = apply
  assert {
    condition     = output.id == aws_vpc.network[0].id && length(output.subnets) == 2 && length(output.security_groups) == 1
    error_message = "Expected the VPC, two subnets and one group."
  }
}

run "a_public_network_has_a_gateway_and_gives_no_address_by_itself" {
  command = plan
  variables {
    public = true
  }
  assert {
    condition     = length(aws_internet_gateway.network) == 1 && length(aws_subnet.private) == 0 && [for subnet in values(aws_subnet.public) : subnet.map_public_ip_on_launch] == [false, false]
    error_message = "Expected two public subnets in which an address has to be asked for."
  }
}

run "a_nat_gateway_keeps_the_subnets_private" {
  command = plan
  variables {
    cloud = { nat = true }
  }
  assert {
    condition     = length(aws_nat_gateway.network) == 1 && length(aws_subnet.private) == 2 && length(aws_subnet.public) == 1
    error_message = "Expected one gateway in a public subnet, and two private subnets."
  }
}

run "endpoints_let_in_what_runs_here" {
  command = plan
  variables {
    cloud = { endpoints = ["ecr.api", "logs"] }
  }
  assert {
    condition     = [for each in values(aws_vpc_endpoint.service) : each.service_name] == ["com.amazonaws.eu-west-1.ecr.api", "com.amazonaws.eu-west-1.logs"] && aws_vpc_security_group_ingress_rule.endpoints[0].from_port == 443
    error_message = "Expected the services given, over TLS."
  }
}

run "existing_subnets_are_taken_as_they_are" {
  command = plan
  variables {
    existing = { id = "vpc-1", subnets = ["subnet-1", "subnet-2"] }
  }
  assert {
    condition     = output.id == "vpc-1" && output.subnets == tolist(["subnet-1", "subnet-2"]) && length(aws_vpc.network) == 0 && length(aws_vpc_endpoint.s3) == 0
    error_message = "Expected the subnets given, and nothing made beside a security group."
  }
}

run "existing_route_tables_get_the_endpoint_of_s3" {
  command = plan
  variables {
    existing = { id = "vpc-1", subnets = ["subnet-1"] }
    cloud    = { route_tables = ["rtb-1"] }
  }
  assert {
    condition     = aws_vpc_endpoint.s3[0].route_table_ids == toset(["rtb-1"])
    error_message = "Expected the endpoint in the tables given."
  }
}

run "hardened_logs_connections_for_a_year_with_its_own_key" {
  command = plan
  variables {
    hardened = true
    cloud    = { permissions_boundary = "arn:aws:iam::123456789012:policy/boundary" }
  }
  assert {
    condition     = aws_flow_log.network[0].traffic_type == "ALL" && aws_cloudwatch_log_group.flow[0].retention_in_days == 365 && aws_kms_key.flow[0].enable_key_rotation && aws_iam_role.flow[0].permissions_boundary != null
    error_message = "Expected all connections logged for 365 days, and a role within the boundary."
  }
}

run "another_region_is_chosen" {
  command = plan
  variables {
    location = { region = "us-west-2" }
  }
  assert {
    condition     = aws_vpc.network[0].region == "us-west-2" && aws_vpc_endpoint.s3[0].service_name == "com.amazonaws.us-west-2.s3"
    error_message = "Expected the region given."
  }
}

run "addresses_that_do_not_fit_are_refused" {
  command = plan
  variables {
    cidr = "10.0.0.0/8"
  }
  expect_failures = [var.cidr]
}

run "a_name_that_ec2_refuses_is_refused" {
  command = plan
  variables {
    name = "sg-acme"
  }
  expect_failures = [var.name]
}

run "an_endpoint_of_s3_that_costs_is_refused" {
  command = plan
  variables {
    cloud = { endpoints = ["s3"] }
  }
  expect_failures = [var.cloud]
}
