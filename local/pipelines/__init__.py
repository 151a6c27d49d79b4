"""Kubeflow Pipelines on one machine: its v2beta1 REST API over SQLite, and kfp.local to run compiled pipelines.

| Kubeflow Pipelines                        | here                                                                  |
|-------------------------------------------|-----------------------------------------------------------------------|
| experiments, pipelines, versions, runs    | the same paths, messages, list options and errors; one namespace       |
| lightweight Python components, importers  | processes in the server's own environment (no venv, no container)      |
| packages_to_install                       | must be installed already: pip is kept from changing the environment   |
| container components                      | refused at submission                                                  |
| dsl.If, Elif, Else, OneOf, ExitHandler    | yes; a condition that cannot be evaluated fails the run       |
| dsl.ParallelFor                           | at most two iterations at a time                                       |
| tasks that do not wait for each other     | one at a time                                                          |
| set_retry                                 | yes                                                                   |
| caching                                   | the flags are accepted; nothing is cached between runs                 |
| a pod that vanishes is started again      | the run's process is, up to --attempts; finished tasks are kept        |
| :retry                                    | yes: what succeeded is kept                                            |
| :terminate                                | yes: SIGTERM, then SIGKILL, to all of the run's processes              |
| recurring runs                            | yes, cron (in UTC) and periodic; no [[ScheduledTime]] in parameters     |
| set_cpu_limit, accelerators, node choice  | accepted, without effect                                               |
| secrets, volumes (kfp-kubernetes)         | dropped: steps read the server's environment                           |
| pipeline_root in S3 or GCS                | files of the run's folder                                              |
| users, authorisation                      | one token for all (local/access_middleware.py); no pages of other sites  |
"""
