"""Deployments: from pipelines to blocks, a work pool and deployments in Prefect, with a record of what Glacier made.

    desired   what should be there, from pipelines and an environment
    actual    what is there
    changes   what differs, field by field
    apply     does it; `recovery` undoes or finishes what came to no end
    state     records and lock of an environment, and its `journal`; `kept` in a folder, or `kept_bucket` beside
              Terraform's state
    code      which code a pipeline is and how it reaches the worker; `packages` brings what it imports
    previews  the same for a branch beside an environment: what it may do, and removing what it wrote
    deploying wires these; `status` finds drift; `show` makes text, Markdown and JSON of a plan

`desired` and `changes` take and return plain data. The package loads Prefect; nothing imports it before it is used.
"""
