locals {
  # Left relative if given so, so that a project that moves as a whole keeps its buckets.
  path = "${trimsuffix(var.location.base_path, "/")}/${var.name}"
}

resource "terraform_data" "bucket" {
  input = {
    holds_data      = true # Glacier asks before it destroys or replaces a resource that says so
    allow_data_loss = var.allow_data_loss
    name            = var.name
    path            = local.path
    labels          = var.labels
    readers         = var.readers
    writers         = var.writers
  }

  # Another folder is another bucket. All else is changed in place.
  triggers_replace = { path = local.path }

  # What varies goes through the environment: a name is never read as shell code.
  # A folder that is made here is marked; one that was there before is somebody's, and no destroy removes it.
  provisioner "local-exec" {
    interpreter = ["/bin/sh", "-c"]
    command     = <<-EOT
      if [ -d "$BUCKET" ]; then exit 0; fi
      mkdir -p -- "$BUCKET" && mkdir -- "$BUCKET/.glacier" && : > "$BUCKET/.glacier/made-by-terraform"
    EOT
    environment = { BUCKET = self.input.path }
    quiet       = true
  }

  # A destroy sees what was applied before, so allow_data_loss takes an apply of its own; GLACIER_ALLOW_DATA_LOSS does not.
  # A folder that is already gone needs nothing; a link is never followed.
  provisioner "local-exec" {
    when        = destroy
    interpreter = ["/bin/sh", "-c"]
    command     = <<-EOT
      if [ ! -e "$BUCKET" ] && [ ! -L "$BUCKET" ]; then exit 0; fi
      if [ ! -e "$BUCKET/.glacier/made-by-terraform" ]; then exit 0; fi
      if [ "$ALLOWED" = true ] || [ "$GLACIER_ALLOW_DATA_LOSS" = true ]; then exec rm -rf -- "$BUCKET"; fi
      rm -f -- "$BUCKET/.glacier/made-by-terraform"
      rmdir -- "$BUCKET/.glacier" 2> /dev/null
      if rmdir -- "$BUCKET"; then exit 0; fi
      mkdir -p -- "$BUCKET/.glacier" && : > "$BUCKET/.glacier/made-by-terraform"
      echo "It is kept; allow_data_loss lets it be removed with what is in it." >&2
      exit 1
    EOT
    environment = {
      BUCKET  = self.input.path
      ALLOWED = tostring(self.input.allow_data_loss)
    }
    quiet = true
  }
}
