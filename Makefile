.DEFAULT_GOAL := help
.PHONY: help run demo down test lint bench soak format lock clean

# Several servers share the cores in the tests: threads that wait must not hold them (predictor/openmp.py).
test soak: export OMP_WAIT_POLICY ?= passive
# tritonclient (tests/predictor) and kserve (the others) register the same protobuf names: two processes.
PYTEST := .venv/bin/python -m pytest

help: ## Show these verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## Set everything up, bring up the whole loop and answer a first question
	@scripts/setup run
	@.venv/bin/mcqa up
	@.venv/bin/mcqa ask --random

demo: ## Show the loop learn something new, from drift to promotion (some 5 minutes)
	@scripts/setup run
	@.venv/bin/mcqa demo $(ARGS)

down: ## End the loop that `make run` or `make demo` brought up
	@.venv/bin/mcqa down
	@.venv/bin/mcqa down --dir .local-demo

test: ## Set everything up and run every test
	@scripts/setup dev
	$(PYTEST) -m "not soak" tests/predictor $(ARGS)
	$(PYTEST) -m "not soak" tests --ignore tests/predictor $(ARGS)

lint: ## ruff, its formatter's check, and mypy
	@scripts/setup dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

bench: ## Measure speed, cold start and memory against the peers (real size, random weights)
	@scripts/setup bench
	.venv/bin/python -m benchmarks $(ARGS)

soak: ## Long runs: hostile requests and mixed load for minutes
	@scripts/setup dev
	$(PYTEST) -m soak --timeout 3600 tests/predictor $(ARGS)

format: ## Rewrite the code as `make lint` wants it
	@scripts/setup dev
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

lock: ## Resolve pyproject.toml into the lock files again
	@scripts/setup run
	scripts/lock

clean: ## Remove the environment and everything made under the checkout
	rm -rf .venv .local .local-demo .cache .pytest_cache .mypy_cache .ruff_cache build *.egg-info
