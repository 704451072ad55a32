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
  mock_resource "aws_emrserverless_application" {
    defaults = { id = "00f1", arn = "arn:aws:emr-serverless:eu-west-1:123456789012:/applications/00f1" }
  }
}

variables {
  name = "glacier-acme-prod"
}

run "a_name_is_all_that_is_needed" {
  command = plan
  assert {
    condition     = aws_emrserverless_application.spark.type == "spark" && length(output.identities) == 0
    error_message = "Expected an application of Spark, and no roles."
  }
}

run "costs_nothing_while_it_is_not_used" {
  command = plan
  assert {
    condition     = length(aws_emrserverless_application.spark.initial_capacity) == 0 && aws_emrserverless_application.spark.auto_stop_configuration[0].idle_timeout_minutes == 5
    error_message = "Expected no workers that are kept ready, and an end after 5 minutes."
  }
}

run "has_a_limit" {
  command = plan
  assert {
    condition     = aws_emrserverless_application.spark.maximum_capacity[0].cpu == "32 vCPU" && aws_emrserverless_application.spark.maximum_capacity[0].memory == "128 GB"
    error_message = "Expected a limit of what all jobs use."
  }
}

run "settings_are_those_of_the_executor" {
  command = apply
  variables {
    pipelines = { daily = {} }
  }
  assert {
    condition = merge(output.settings, output.pipeline_settings["daily"]) == {
      service        = "emr-serverless"
      application_id = "00f1"
      role_arn       = "arn:aws:iam::123456789012:role/glacier-acme-prod-spark-daily"
    }
    error_message = "Expected service, application and role."
  }
}

run "jobs_may_do_what_the_graph_says" {
  command = plan
  variables {
    pipelines = { daily = { reads = { raw = ["orders/"] }, writes = { curated = ["daily/"] } } }
    cloud     = { archive = "s3://code/environment.tar.gz" }
  }
  assert {
    condition = jsondecode(aws_iam_role_policy.pipeline["daily"].policy).Statement == [
      { Effect = "Allow", Action = ["s3:ListBucket"], Resource = ["arn:aws:s3:::curated"], Condition = { StringLike = { "s3:prefix" = ["daily/*"] } } },
      { Effect = "Allow", Action = ["s3:ListBucket"], Resource = ["arn:aws:s3:::raw"], Condition = { StringLike = { "s3:prefix" = ["orders/*"] } } },
      { Effect = "Allow", Action = ["s3:GetObject"], Resource = ["arn:aws:s3:::raw/orders/*"] },
      { Effect = "Allow", Action = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"], Resource = ["arn:aws:s3:::curated/daily/*"] },
      { Effect = "Allow", Action = ["s3:GetObject"], Resource = ["arn:aws:s3:::code/environment.tar.gz"] },
    ]
    error_message = "Expected list and get where it reads, put and delete where it writes, the archive, and nothing else."
  }
}

run "a_pipeline_without_buckets_has_a_role_without_rights" {
  command = plan
  variables {
    pipelines = { hourly = {} }
  }
  assert {
    condition     = length(aws_iam_role_policy.pipeline) == 0 && length(aws_iam_role.pipeline) == 1
    error_message = "Expected a role and no policy."
  }
}

run "roles_are_for_jobs_of_this_account" {
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
    error_message = "Expected trust in jobs of this account, within the boundary."
  }
}

run "a_submitter_passes_its_own_pipelines_role_only" {
  command = apply
  variables {
    pipelines  = { daily = {}, hourly = {} }
    submitters = { daily = { identity = "arn:aws:iam::123456789012:role/pool-run-daily" } }
  }
  assert {
    condition = aws_iam_role_policy.submitter["daily"].role == "pool-run-daily" && jsondecode(aws_iam_role_policy.submitter["daily"].policy).Statement == [
      { Effect = "Allow", Action = ["emr-serverless:ListJobRuns", "emr-serverless:StartJobRun"], Resource = ["arn:aws:emr-serverless:eu-west-1:123456789012:/applications/00f1"] },
      { Effect = "Allow", Action = ["emr-serverless:CancelJobRun", "emr-serverless:GetJobRun"], Resource = ["arn:aws:emr-serverless:eu-west-1:123456789012:/applications/00f1/jobruns/*"] },
      {
        Effect    = "Allow"
        Action    = ["iam:PassRole"]
        Resource  = ["arn:aws:iam::123456789012:role/glacier-acme-prod-spark-daily"]
        Condition = { StringEquals = { "iam:PassedToService" = "emr-serverless.amazonaws.com" } }
      },
    ]
    error_message = "Expected jobs of this application, with the role of daily and not of hourly."
  }
}

run "jobs_are_in_the_network_given" {
  command = plan
  variables {
    network = { id = "vpc-1", subnets = ["subnet-1"], security_groups = ["sg-1"] }
  }
  assert {
    condition     = aws_emrserverless_application.spark.network_configuration[0].subnet_ids == toset(["subnet-1"])
    error_message = "Expected the subnets given."
  }
}

run "a_submitter_that_is_no_pipeline_is_refused" {
  command = plan
  variables {
    submitters = { other = { identity = "arn:aws:iam::123456789012:role/other" } }
  }
  expect_failures = [aws_emrserverless_application.spark]
}

run "a_submitter_that_is_no_role_is_refused" {
  command = plan
  variables {
    pipelines  = { daily = {} }
    submitters = { daily = { identity = "arn:aws:iam::123456789012:user/me" } }
  }
  expect_failures = [var.submitters]
}

run "a_name_that_emr_refuses_is_refused" {
  command = plan
  variables {
    name = "größe"
  }
  expect_failures = [var.name]
}
