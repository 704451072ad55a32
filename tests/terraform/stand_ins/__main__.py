"""`python -m tests.terraform.stand_ins DATA NAME` as Terraform starts it, or `… DATA` for all in one process."""

import sys
from pathlib import Path

from tests.terraform.stand_ins.serving import serve_all, serve_terraform

if len(sys.argv) > 2:
    serve_terraform(Path(sys.argv[1]), sys.argv[2])
else:
    serve_all(Path(sys.argv[1]))
