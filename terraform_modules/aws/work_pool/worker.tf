# The worker: its role wherever it is, and with worker = "service" a task of ECS that is always there.
locals {
  service     = var.worker == "service"
  worker      = local.service || length(var.cloud.worker_principals) > 0
  worker_name = "${local.base}-worker"
  worker_arn  = "arn:${local.partition}:iam::${local.account}:role/${local.worker_name}"
  queue_arn   = "arn:${local.partition}:sqs:${local.in_region}:${local.base}"
  rule_arn    = "arn:${local.partition}:events:${local.in_region}:rule/${local.base}"
  families    = merge({ for name, role in local.roles : name => role }, { "" = local.base })

  worker_trust = concat(
    local.service ? jsondecode(local.trust).Statement : [],
    [for principals in [sort(var.cloud.worker_principals)] : { Effect = "Allow", Principal = { AWS = principals }, Action = "sts:AssumeRole" } if length(principals) > 0],
  )
  worker_rights = concat(
    [
      {
        Effect   = "Allow"
        Action   = ["ec2:DescribeSubnets", "ec2:DescribeVpcs", "ecs:DescribeTaskDefinition", "ecs:RegisterTaskDefinition"]
        Resource = "*" # they take no resource; what a definition can do is limited by the roles that may be passed
      },
      {
        Effect    = "Allow"
        Action    = ["ecs:RunTask"]
        Resource  = [for family in sort(values(local.families)) : "arn:${local.partition}:ecs:${local.in_region}:task-definition/${family}:*"] # any revision
        Condition = { ArnEquals = { "ecs:cluster" = local.cluster_arn } }
      },
      {
        Effect   = "Allow"
        Action   = ["ecs:DescribeTasks", "ecs:StopTask"]
        Resource = ["arn:${local.partition}:ecs:${local.in_region}:task/${local.base}/*"] # tasks of the cluster
      },
      {
        Effect    = "Allow"
        Action    = ["ecs:TagResource"]
        Resource  = ["arn:${local.partition}:ecs:${local.in_region}:task/${local.base}/*"]
        Condition = { StringEquals = { "ecs:CreateAction" = "RunTask" } }
      },
      {
        Effect    = "Allow"
        Action    = ["iam:PassRole"]
        Resource  = concat([local.execution_arn], values(local.role_arns))
        Condition = { StringEquals = { "iam:PassedToService" = "ecs-tasks.amazonaws.com" } }
      },
    ],
    [
      for right in [
        { actions = ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:ReceiveMessage"], resource = local.queue_arn },
        { actions = ["logs:GetLogEvents"], resource = "${local.log_group_arn}:log-stream:*" }, # of runs that crashed
      ] : { Effect = "Allow", Action = right.actions, Resource = [right.resource] } if local.service
    ],
  )
}

resource "aws_iam_role" "worker" {
  count                = local.worker ? 1 : 0
  name                 = local.worker_name
  description          = "The Prefect worker of the work pool ${local.base} starts runs with it."
  assume_role_policy   = jsonencode({ Version = "2012-10-17", Statement = local.worker_trust })
  permissions_boundary = var.cloud.permissions_boundary
  tags                 = var.labels
}

resource "aws_iam_role_policy" "worker" {
  count  = local.worker ? 1 : 0
  name   = "start-runs"
  role   = aws_iam_role.worker[0].name
  policy = jsonencode({ Version = "2012-10-17", Statement = local.worker_rights })
}

resource "aws_ecs_task_definition" "worker" {
  count                    = local.service ? 1 : 0
  family                   = local.worker_name
  region                   = var.location.region
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.cloud.worker_cpu
  memory                   = var.cloud.worker_memory
  execution_role_arn       = local.execution_arn
  task_role_arn            = local.worker_arn
  tags                     = var.labels

  container_definitions = jsonencode([{
    name      = "worker"
    image     = coalesce(var.cloud.worker_image, var.image, "none")
    essential = true
    command   = ["prefect", "worker", "start", "--pool", var.name, "--type", "ecs"]
    environment = [
      for name, value in {
        AWS_DEFAULT_REGION                                   = local.region
        PREFECT_API_URL                                      = var.server.api_url
        PREFECT_INTEGRATIONS_AWS_ECS_OBSERVER_SQS_QUEUE_NAME = local.base
      } : { name = name, value = value } if value != null
    ]
    secrets = [for name, arn in local.secret_arns : { name = name, valueFrom = arn }]
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = local.log_group
        awslogs-region        = local.region
        awslogs-stream-prefix = "worker"
      }
    }
  }])

  depends_on = [aws_iam_role_policy.execution, aws_iam_role_policy.worker]

  lifecycle {
    precondition {
      condition     = var.cloud.worker_image != null || var.image != null
      error_message = "A worker that is a service needs image or cloud.worker_image: an image with Prefect and prefect-aws."
    }
    precondition {
      condition     = var.server.api_url != null
      error_message = "A worker that is a service needs server.api_url, the address of Prefect's API."
    }
    precondition {
      condition     = var.type == "ecs"
      error_message = "A push pool has no worker: Prefect Cloud starts its runs."
    }
  }
}

resource "aws_ecs_service" "worker" {
  count           = local.service ? 1 : 0
  name            = "worker"
  region          = var.location.region
  cluster         = aws_ecs_cluster.pool.arn
  task_definition = aws_ecs_task_definition.worker[0].arn
  desired_count   = 1
  launch_type     = "FARGATE"
  propagate_tags  = "SERVICE"
  tags            = var.labels

  network_configuration {
    subnets          = try(var.network.subnets, [])
    security_groups  = try(var.network.security_groups, [])
    assign_public_ip = var.cloud.public_address
  }

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  depends_on = [aws_cloudwatch_log_group.pool]

  lifecycle {
    precondition {
      condition     = var.network != null
      error_message = "A worker that is a service needs network: the subnets in which it runs."
    }
  }
}

# What happens to tasks, so that the worker notices runs that crashed.
resource "aws_sqs_queue" "tasks" {
  count                     = local.service ? 1 : 0
  name                      = local.base
  region                    = var.location.region
  message_retention_seconds = 3600
  sqs_managed_sse_enabled   = true
  tags                      = var.labels
}

resource "aws_sqs_queue_policy" "tasks" {
  count     = local.service ? 1 : 0
  queue_url = aws_sqs_queue.tasks[0].url
  region    = var.location.region

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "events.amazonaws.com" }
      Action    = ["sqs:SendMessage"]
      Resource  = [local.queue_arn]
      Condition = { ArnEquals = { "aws:SourceArn" = local.rule_arn } }
    }]
  })
}

resource "aws_cloudwatch_event_rule" "tasks" {
  count       = local.service ? 1 : 0
  name        = local.base
  region      = var.location.region
  description = "Tasks of the cluster ${local.base} that change their state."
  tags        = var.labels

  event_pattern = jsonencode({
    source      = ["aws.ecs"]
    detail-type = ["ECS Task State Change"]
    detail      = { clusterArn = [local.cluster_arn] }
  })
}

resource "aws_cloudwatch_event_target" "tasks" {
  count  = local.service ? 1 : 0
  rule   = aws_cloudwatch_event_rule.tasks[0].name
  region = var.location.region
  arn    = local.queue_arn

  depends_on = [aws_sqs_queue_policy.tasks]
}
