"""The GitHub action: `python -m action` in a job, with the inputs in its environment. Standard library only, since it
runs in the user's environment; all the work is done by the `glacier` that is installed there.
"""
