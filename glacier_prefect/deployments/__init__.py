"""Deployments: from pipelines to blocks, a work pool and deployments in Prefect, with a record of what Glacier made.

    desired   what should be there, from pipelines and an environment
    actual    what is there
    changes   what differs, field by field
    apply     does it, undoes it, finishes it
    state     record, journal and lock of an environment
    deploying wires these; `show` makes text, Markdown and JSON of a plan

`desired` and `changes` take and return plain data. The package loads Prefect; nothing imports it before it is used.
"""
