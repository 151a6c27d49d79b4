"""The project's tools: what the `make` verbs and CI run on a checkout. `scripts/tools --help` lists them.

    cluster/    a cluster from nothing, deploying, Secrets, what is missing, smoke test
    images/     building, scanning and pushing images, and their lock files
    manifests/  rendering and validating every overlay
    ci/         test suites, the evaluation gate, promoting a version

What must run before `.venv` is there is shell, in scripts/. The product never imports this package.
"""
