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
}

variables {
  name = "glacier-acme-prod-pool"
}

run "a_name_is_all_that_is_needed" {
  command = plan
  assert {
    condition     = output.name == "glacier-acme-prod-pool" && output.type == "ecs" && output.worker_identity == null
    error_message = "Expected a pool of type ecs, without a worker."
  }
}

run "job_variables_are_those_of_prefect_aws" {
  command = plan
  variables {
    env    = { GLACIER_ENV = "prod" }
    labels = { glacier-env = "prod" }
    image  = "example/flows:1"
  }
  assert {
    condition = output.job_variables == {
      env                       = tomap({ GLACIER_ENV = "prod" })
      labels                    = tomap({ glacier-env = "prod" })
      cluster                   = "arn:aws:ecs:eu-west-1:123456789012:cluster/glacier-acme-prod-pool"
      family                    = "glacier-acme-prod-pool"
      launch_type               = "FARGATE"
      execution_role_arn        = "arn:aws:iam::123456789012:role/glacier-acme-prod-pool-execution"
      configure_cloudwatch_logs = true
      cloudwatch_logs_options   = { awslogs-group = "/glacier/glacier-acme-prod-pool", awslogs-create-group = "false" }
      image                     = "example/flows:1"
    }
    error_message = "Expected cluster, role, logs and image under the names of the ECS worker's template."
  }
}

run "runs_in_a_network_have_no_public_address" {
  command = plan
  variables {
    network = { id = "vpc-1", subnets = ["subnet-1", "subnet-2"], security_groups = ["sg-1"] }
  }
  assert {
    condition = output.job_variables.vpc_id == "vpc-1" && output.job_variables.network_configuration == {
      subnets        = tolist(["subnet-1", "subnet-2"])
      securityGroups = tolist(["sg-1"])
      assignPublicIp = "DISABLED"
    }
    error_message = "Expected the subnets and groups given, and no public address."
  }
}

run "prefects_key_stays_in_the_store" {
  command = plan
  variables {
    server = { api_key_secret = "acme/PREFECT_API_KEY" }
  }
  assert {
    condition     = output.job_variables.prefect_api_key_secret_arn == "arn:aws:secretsmanager:eu-west-1:123456789012:secret:acme/PREFECT_API_KEY"
    error_message = "Expected where the key is, and not the key."
  }
}

run "tasks_are_started_with_logs_images_and_prefects_key_only" {
  command = plan
  variables {
    image  = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/acme/flows:1"
    server = { api_key_secret = "key" }
  }
  assert {
    condition = jsondecode(aws_iam_role_policy.execution.policy).Statement == [
      { Effect = "Allow", Action = ["logs:CreateLogStream", "logs:PutLogEvents"], Resource = ["arn:aws:logs:eu-west-1:123456789012:log-group:/glacier/glacier-acme-prod-pool:log-stream:*"] },
      { Effect = "Allow", Action = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"], Resource = ["arn:aws:ecr:eu-west-1:123456789012:repository/acme/flows"] },
      { Effect = "Allow", Action = ["ecr:GetAuthorizationToken"], Resource = "*" },
      { Effect = "Allow", Action = ["secretsmanager:GetSecretValue"], Resource = ["arn:aws:secretsmanager:eu-west-1:123456789012:secret:key", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:key-??????"] },
    ]
    error_message = "Expected the log group, the image's repository and the key's secret."
  }
}

run "logs_end" {
  command = plan
  assert {
    condition     = aws_cloudwatch_log_group.pool.retention_in_days == 30
    error_message = "Expected logs to be kept for 30 days."
  }
}

run "a_pipeline_may_do_what_its_graph_says" {
  command = plan
  variables {
    pipelines = {
      daily = { reads = { raw = ["orders/", "users/"] }, writes = { curated = ["daily/"] }, secrets = ["db"] }
    }
  }
  assert {
    condition = jsondecode(aws_iam_role_policy.pipeline["daily"].policy).Statement == [
      { Effect = "Allow", Action = ["s3:ListBucket"], Resource = ["arn:aws:s3:::curated"], Condition = { StringLike = { "s3:prefix" = ["daily/*"] } } },
      { Effect = "Allow", Action = ["s3:ListBucket"], Resource = ["arn:aws:s3:::raw"], Condition = { StringLike = { "s3:prefix" = ["orders/*", "users/*"] } } },
      { Effect = "Allow", Action = ["s3:GetObject"], Resource = ["arn:aws:s3:::raw/orders/*", "arn:aws:s3:::raw/users/*"] },
      { Effect = "Allow", Action = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"], Resource = ["arn:aws:s3:::curated/daily/*"] },
      { Effect = "Allow", Action = ["secretsmanager:GetSecretValue"], Resource = ["arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-??????"] },
    ]
    error_message = "Expected list and get where it reads, put and delete where it writes, its secret, and nothing else."
  }
}

run "a_pipeline_with_a_delta_table_lists_its_bucket" {
  command = plan
  variables {
    pipelines = { daily = { reads = { raw = ["orders/"] }, writes = { curated = ["table/"] }, lists = ["curated"] } }
  }
  assert {
    condition = [for each in jsondecode(aws_iam_role_policy.pipeline["daily"].policy).Statement : each if each.Action == ["s3:ListBucket"]] == [
      { Effect = "Allow", Action = ["s3:ListBucket"], Resource = ["arn:aws:s3:::curated"] },
      { Effect = "Allow", Action = ["s3:ListBucket"], Resource = ["arn:aws:s3:::raw"], Condition = { StringLike = { "s3:prefix" = ["orders/*"] } } },
    ]
    error_message = "Expected all names of the bucket in lists, and of the other those below its prefix only."
  }
}

run "a_whole_bucket_and_odd_names_are_granted_as_they_are" {
  command = plan
  variables {
    pipelines = { daily = { reads = { raw = [""] }, writes = { raw = ["a*/"] } } }
  }
  assert {
    condition = jsondecode(aws_iam_role_policy.pipeline["daily"].policy).Statement == [
      { Effect = "Allow", Action = ["s3:ListBucket"], Resource = ["arn:aws:s3:::raw"] },
      { Effect = "Allow", Action = ["s3:GetObject"], Resource = ["arn:aws:s3:::raw/*"] },
      { Effect = "Allow", Action = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"], Resource = ["arn:aws:s3:::raw/a$${*}/*"] },
    ]
    error_message = "Expected all of the bucket to read, and what is below a*/ to write."
  }
}

run "a_pipeline_without_buckets_has_a_role_without_rights" {
  command = plan
  variables {
    pipelines = { hourly = {} }
  }
  assert {
    condition     = length(aws_iam_role_policy.pipeline) == 0 && aws_iam_role.pipeline["hourly"].name == "glacier-acme-prod-pool-run-hourly"
    error_message = "Expected a role and no policy."
  }
}

run "every_pipeline_has_its_own_role_and_image" {
  command = plan
  variables {
    labels    = { glacier-env = "prod" }
    pipelines = { daily = { image = "example/daily:1" }, hourly = {} }
  }
  assert {
    condition = jsonencode(output.pipeline_job_variables) == jsonencode({
      daily = {
        family        = "glacier-acme-prod-pool-run-daily"
        image         = "example/daily:1"
        labels        = { glacier-env = "prod", glacier-pipeline = "daily" }
        task_role_arn = "arn:aws:iam::123456789012:role/glacier-acme-prod-pool-run-daily"
      }
      hourly = {
        family        = "glacier-acme-prod-pool-run-hourly"
        labels        = { glacier-env = "prod", glacier-pipeline = "hourly" }
        task_role_arn = "arn:aws:iam::123456789012:role/glacier-acme-prod-pool-run-hourly"
      }
    })
    error_message = "Expected a role for each pipeline, and its image where it has one."
  }
}

run "identities_are_roles_with_names_that_iam_takes" {
  command = plan
  variables {
    pipelines = { "tägliche Übersicht aller Bestellungen und aller Kunden" = {} }
  }
  assert {
    condition     = can(regex("^arn:aws:iam::123456789012:role/[A-Za-z0-9_-]{1,64}$", one(values(output.identities))))
    error_message = "Expected the ARN of a role with a name of at most 64 plain characters."
  }
}

run "roles_are_for_tasks_of_this_account" {
  command = plan
  variables {
    pipelines = { daily = {} }
    cloud     = { permissions_boundary = "arn:aws:iam::123456789012:policy/boundary" }
  }
  assert {
    condition = (
      aws_iam_role.pipeline["daily"].permissions_boundary == "arn:aws:iam::123456789012:policy/boundary" &&
      one(jsondecode(aws_iam_role.pipeline["daily"].assume_role_policy).Statement).Condition.StringEquals["aws:SourceAccount"] == "123456789012"
    )
    error_message = "Expected trust in tasks of this account, within the boundary."
  }
}

run "hardened_has_a_key_and_a_year_of_logs_and_metrics" {
  command = plan
  variables {
    hardened = true
  }
  assert {
    condition     = aws_kms_key.logs[0].enable_key_rotation && aws_cloudwatch_log_group.pool.retention_in_days == 365 && one(aws_ecs_cluster.pool.setting).value == "enabled"
    error_message = "Expected a key that is rotated, 365 days and container insights."
  }
}

run "hardened_runs_may_use_keys_for_their_buckets_only" {
  command = plan
  variables {
    hardened  = true
    pipelines = { daily = { reads = { raw = ["orders/"] } } }
  }
  assert {
    condition = jsondecode(aws_iam_role_policy.pipeline["daily"].policy).Statement[2] == {
      Effect   = "Allow"
      Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource = ["arn:aws:kms:eu-west-1:123456789012:key/*"]
      Condition = {
        StringEquals = { "kms:ViaService" = "s3.eu-west-1.amazonaws.com" }
        StringLike   = { "kms:EncryptionContext:aws:s3:arn" = ["arn:aws:s3:::raw", "arn:aws:s3:::raw/*"] }
      }
    }
    error_message = "Expected keys through S3, for objects of the bucket."
  }
}

run "a_worker_elsewhere_gets_a_role_that_passes_only_these_roles" {
  command = plan
  variables {
    pipelines = { daily = {} }
    cloud     = { worker_principals = ["arn:aws:iam::123456789012:role/ci"] }
  }
  assert {
    condition = (
      output.worker_identity == "arn:aws:iam::123456789012:role/glacier-acme-prod-pool-worker" &&
      one([for each in jsondecode(aws_iam_role_policy.worker[0].policy).Statement : each.Resource if each.Action == ["iam:PassRole"]]) == ["arn:aws:iam::123456789012:role/glacier-acme-prod-pool-execution", "arn:aws:iam::123456789012:role/glacier-acme-prod-pool-run-daily"]
    )
    error_message = "Expected a role that passes the execution role and those of pipelines, and no other."
  }
}

run "a_worker_runs_in_its_cluster_only" {
  command = plan
  variables {
    pipelines = { daily = {} }
    cloud     = { worker_principals = ["arn:aws:iam::123456789012:role/ci"] }
  }
  assert {
    condition = jsondecode(aws_iam_role_policy.worker[0].policy).Statement[1] == {
      Effect    = "Allow"
      Action    = ["ecs:RunTask"]
      Resource  = ["arn:aws:ecs:eu-west-1:123456789012:task-definition/glacier-acme-prod-pool:*", "arn:aws:ecs:eu-west-1:123456789012:task-definition/glacier-acme-prod-pool-run-daily:*"]
      Condition = { ArnEquals = { "ecs:cluster" = "arn:aws:ecs:eu-west-1:123456789012:cluster/glacier-acme-prod-pool" } }
    }
    error_message = "Expected to run the pool's families in the pool's cluster."
  }
}

run "a_service_starts_prefects_worker_with_the_key_from_the_store" {
  command = plan
  variables {
    worker  = "service"
    image   = "example/flows:1"
    network = { id = "vpc-1", subnets = ["subnet-1"], security_groups = ["sg-1"] }
    server  = { api_url = "https://api.example/api", api_key_secret = "key" }
  }
  assert {
    condition = (
      one(jsondecode(aws_ecs_task_definition.worker[0].container_definitions)).command == ["prefect", "worker", "start", "--pool", "glacier-acme-prod-pool", "--type", "ecs"] &&
      one(jsondecode(aws_ecs_task_definition.worker[0].container_definitions)).secrets == [{ name = "PREFECT_API_KEY", valueFrom = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:key" }] &&
      !aws_ecs_service.worker[0].network_configuration[0].assign_public_ip
    )
    error_message = "Expected the worker's command, its key by reference, and no public address."
  }
}

run "a_service_hears_of_tasks_that_end" {
  command = plan
  variables {
    worker  = "service"
    image   = "example/flows:1"
    network = { id = "vpc-1", subnets = ["subnet-1"] }
    server  = { api_url = "https://api.example/api" }
  }
  assert {
    condition     = contains(one(jsondecode(aws_ecs_task_definition.worker[0].container_definitions)).environment, { name = "PREFECT_INTEGRATIONS_AWS_ECS_OBSERVER_SQS_QUEUE_NAME", value = aws_sqs_queue.tasks[0].name })
    error_message = "Expected the queue's name in the worker's variables."
  }
}

run "a_service_without_a_network_is_refused" {
  command = plan
  variables {
    worker = "service"
    image  = "example/flows:1"
    server = { api_url = "https://api.example/api" }
  }
  expect_failures = [aws_ecs_service.worker]
}

run "a_service_of_a_push_pool_is_refused" {
  command = plan
  variables {
    type    = "ecs:push"
    worker  = "service"
    image   = "example/flows:1"
    network = { id = "vpc-1", subnets = ["subnet-1"] }
    server  = { api_url = "https://api.example/api" }
  }
  expect_failures = [aws_ecs_task_definition.worker]
}

run "another_type_is_refused" {
  command = plan
  variables {
    type = "docker"
  }
  expect_failures = [var.type]
}

run "a_name_that_prefect_refuses_is_refused" {
  command = plan
  variables {
    name = "a/b"
  }
  expect_failures = [var.name]
}
