# Nothing has to exist for a pool of processes. The resource keeps the pool in plan and state, as in every cloud.
resource "terraform_data" "work_pool" {
  input = {
    name      = var.name
    type      = var.type
    worker    = var.worker
    env       = var.env
    pipelines = var.pipelines
    labels    = var.labels
  }
}
