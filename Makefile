.DEFAULT_GOAL := help
.PHONY: help run demo down test test-unit test-integration lint docs evaluate bench kills page-kills soak format lock clean \
	pipeline pipeline-upload pipeline-deploy images images-scan images-push manifests manifests-check secrets deploy smoke \
	setup-mlflow setup-kubeflow cluster-up cluster-status

# Several servers share the cores in the tests: threads that wait must not hold them (predictor/openmp.py).
test soak: export OMP_WAIT_POLICY ?= passive
# tritonclient (tests/predictor) and kserve (the others) register the same protobuf names: two processes.
PYTEST := .venv/bin/python -m pytest
# Sets .venv up first, then runs one of tools/. Variables given to make (TAG=…, OVERLAY=…) reach it in its environment.
TOOLS := scripts/tools

help: ## Show these verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## Set everything up, bring up the whole loop, answer a first question (ARGS: options of mcqa up)
	@scripts/run $(ARGS)

demo: ## Show the loop learn something new, from drift to promotion (about 7 minutes)
	@scripts/setup run
	@.venv/bin/mcqa demo $(ARGS)

down: ## End the loop that `make run` or `make demo` brought up
	@test -x .venv/bin/python || { echo "nothing is set up in $(CURDIR): there is no loop to end"; exit 1; }
	@.venv/bin/python -m mcqa down $(ARGS)
	@.venv/bin/python -m mcqa down --dir .local-demo

test: ## Set everything up and run every test
	@scripts/setup dev
	$(PYTEST) -m "not soak" tests/predictor $(ARGS)
	$(PYTEST) -m "not soak" tests --ignore tests/predictor $(ARGS)

test-unit: ## The tests that start no server, with JUnit and coverage reports
	@scripts/setup dev
	$(TOOLS) test unit $(ARGS)

test-integration: ## The tests with real servers, with JUnit and coverage reports
	@scripts/setup dev
	$(TOOLS) test integration $(ARGS)

evaluate: ## Compare the shipped model with its stored baseline; fails when it got worse
	$(TOOLS) evaluate $(ARGS)

lint: ## Style, types, dependencies, which package imports which, spelling and prose
	@scripts/setup dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	MYPYPATH=scripts .venv/bin/mypy scripts/environment.py scripts/preflight.py scripts/progress.py
	.venv/bin/deptry .
	.venv/bin/lint-imports --no-logo
	.venv/bin/codespell
	.venv/bin/python -m tools.prose

docs: ## Build the documentation site in build/site; every link and anchor must resolve (ARGS=--write: generated pages)
	@scripts/setup dev
	.venv/bin/python -m tools docs $(ARGS)

bench: ## Measure speed, cold start and memory against the peers (real size, random weights)
	@scripts/setup bench
	.venv/bin/python -m benchmarks $(ARGS)

kills: ## Kill processes of the whole loop, fill its disk, step its clock, 60 times; check what must hold (10 minutes or more)
	@scripts/setup run
	.venv/bin/python -m benchmarks.kills $(ARGS)

page-kills: ## Kill parts of a loop, end it, fill its disk, while its page is open in Chromium; check that the page recovers (minutes)
	@scripts/setup dev
	.venv/bin/python -m benchmarks.page_kills $(ARGS)

soak: ## Long runs: hostile requests and mixed load for minutes
	@scripts/setup dev
	$(PYTEST) -m soak --timeout 3600 tests/predictor $(ARGS)
	$(PYTEST) -m soak --timeout 3600 tests --ignore tests/predictor $(ARGS)

format: ## Rewrite the code as `make lint` wants it
	@scripts/setup dev
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

lock: ## Resolve pyproject.toml into the lock files again
	$(TOOLS) lock

clean: ## Remove the environment and everything made under the checkout
	rm -rf .venv .local .local-demo .cache .pytest_cache .mypy_cache .ruff_cache build *.egg-info

pipeline: ## Compile the retraining pipeline to .cache/retraining.yaml
	@scripts/setup run
	.venv/bin/python -m pipelines.retraining compile .cache/retraining.yaml $(ARGS)

pipeline-upload: pipeline ## Upload the compiled pipeline as a new version, where it is one (UPLOAD="--url …")
	.venv/bin/mcqa pipeline upload $(UPLOAD)

pipeline-deploy: ## Upload the pipeline, compiled for it, to the current cluster's Kubeflow (REGISTRY, TAG, ARGS="--size tiny")
	$(TOOLS) pipeline-deploy $(ARGS)

images: ## Build every image (BASE, REGISTRY, TAG; see docs/images.md)
	$(TOOLS) images $(ARGS)

images-scan: ## Look for known faults in the images
	$(TOOLS) images-scan $(ARGS)

images-push: ## Push the images to REGISTRY
	$(TOOLS) images-push $(ARGS)

manifests: ## Render every overlay and validate each document strictly
	@scripts/setup dev
	$(TOOLS) manifests $(ARGS)

manifests-check: ## Look for insecure settings in every overlay (checkov)
	@scripts/setup dev
	$(TOOLS) manifests-check $(ARGS)

secrets: ## Create the cluster's secrets with random values, where they are not there yet
	$(TOOLS) secrets $(ARGS)

deploy: ## Apply an overlay to the current cluster: OVERLAY=minikube|production|standard (REGISTRY, TAG, COMPONENTS)
	$(TOOLS) deploy $(ARGS)

smoke: ## Ask a deployed model over its ingress: URL=…
	$(TOOLS) smoke $(ARGS)

setup-mlflow: ## MLflow with its database on the current cluster
	$(TOOLS) setup-mlflow $(ARGS)

setup-kubeflow: ## Kubeflow Pipelines on the current cluster
	$(TOOLS) setup-kubeflow $(ARGS)

cluster-up: ## Minikube from nothing to the first answer; ARGS=--no-minikube: the platform into the current cluster
	$(TOOLS) cluster-up $(ARGS)

cluster-status: ## List what the current cluster still lacks
	$(TOOLS) cluster-status $(ARGS)
