# Who uses one waits until what runs here gets where it has to.

output "id" {
  description = "Id of the VPC."
  value       = local.id
  depends_on  = [aws_route.public, aws_route.nat]
}

output "subnets" {
  description = "Ids of the subnets for what runs here."
  value       = local.subnets
  depends_on = [
    aws_route.nat, aws_route.public, aws_route_table_association.private, aws_route_table_association.public,
    aws_vpc_endpoint.s3, aws_vpc_endpoint.service,
  ]
}

output "security_groups" {
  description = "Ids of the security groups for what runs here."
  value       = [aws_security_group.runs.id]
  depends_on  = [aws_vpc_security_group_egress_rule.runs, aws_vpc_security_group_ingress_rule.endpoints]
}
