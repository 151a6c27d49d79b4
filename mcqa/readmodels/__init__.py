"""What the verbs show, as plain data: each module gathers the facts of one page, and prints nothing.

The verbs print them, or dump them with `--json`, so their keys are public.
"""
