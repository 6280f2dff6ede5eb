# `make help` lists the targets. Whatever is built or downloaded lies in the cache, outside the repository.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.NOTPARALLEL:

PYTHON ?= python3
NODES ?= 3
OPERATOR ?= ours
PYTEST_ARGS ?=
CHAOS_ARGS ?=
BENCH_ARGS ?=
SOAK_ARGS ?=

CACHE := $(or $(PGOPERATOR_CACHE),$(HOME)/.cache/pgoperator)
BIN := $(CACHE)/venv/bin
LOCAL := $(PYTHON) -m local

# The tests break nodes and API servers: they run on the local cluster, whatever KUBECONFIG says.
ON_LOCAL_CLUSTER = unset KUBECONFIG; export KUBECONFIG=$$($(LOCAL) kubeconfig);

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  NODES=1..9 (up, demo)   OPERATOR=ours|none (up)   PYTEST_ARGS=... (test-*)   PYTHON=python3.x"


.PHONY: demo up down kubeconfig audit-log status images
demo: ## Start a Kubernetes and a cluster, and write rows through pgBouncer
	@$(LOCAL) demo --nodes $(NODES)

up: ## Start the local Kubernetes with the operator, or update it
	@$(LOCAL) up --nodes $(NODES) --operator $(OPERATOR)

down: ## Remove the local Kubernetes: processes, mounts, namespaces, links
	@$(LOCAL) down

kubeconfig: ## Print the path of the kubeconfig
	@$(LOCAL) kubeconfig

audit-log: ## Print the path of the audit log
	@$(LOCAL) audit-log

status: ## Show which parts of the local Kubernetes run
	@$(LOCAL) status

images: ## Build the images that are missing or out of date
	@$(LOCAL) images


.PHONY: test check test-unit test-api test-local test-e2e coverage bench chaos soak
test: ## Run all tests, and install what they need (60 to 85 min on two cores)
	@$(MAKE) --keep-going check test-api test-local test-e2e

check: venv ## Format, lint, types, layers, scripts, generated files, documentation, unit tests
	@echo "== format";    $(BIN)/ruff format --check .
	@echo "== lint";      $(BIN)/ruff check .
	@echo "== types";     $(BIN)/mypy
	@echo "== layers";    $(BIN)/lint-imports
	@echo "== scripts";   git ls-files -z --cached --others --exclude-standard -- '*.sh' .ci/run \
		| xargs -0 -r $(BIN)/shellcheck
	@echo "== generated files"; $(BIN)/python -m pgoperator.generate --check
	@$(MAKE) docs
	@$(MAKE) test-unit

test-unit: venv ## Unit tests: no network, no cluster
	@$(LOCAL) test-tools
	@echo "== unit tests"
	@$(BIN)/pytest tests/files tests/unit --ignore=tests/files/test_restore.py \
		-n 2 --dist=loadfile --no-loadscope-reorder $(PYTEST_ARGS)

test-api: venv ## Tests against a real API server without nodes
	@$(LOCAL) bins kubernetes etcd helm
	@echo "== API tests"
	@$(BIN)/pytest tests/api $(PYTEST_ARGS)

test-local: venv ## Tests of the local Kubernetes and its leftovers, on one of their own
	@echo "== tests of the local Kubernetes"
	@$(BIN)/pytest tests/local $(PYTEST_ARGS)

# What PYTEST_ARGS selects may be in one of the two runs; pytest ends with 5 when it runs nothing.
OR_NOTHING = $(if $(strip $(PYTEST_ARGS)),|| [ $$? = 5 ])

test-e2e: venv ## Tests on the local Kubernetes of three nodes: clusters, backups, faults
	@$(LOCAL) test-tools
	@unset KUBECONFIG; $(LOCAL) bins versitygw helm
	@unset KUBECONFIG; $(LOCAL) up --nodes 3
	@$(MAKE) --keep-going e2e-together e2e-alone

.PHONY: e2e-together e2e-alone test-long
e2e-together: ## The part of test-e2e that runs three modules at a time, on the cluster that runs
	@echo "== end-to-end tests, three modules at a time"
	@$(ON_LOCAL_CLUSTER) $(BIN)/pytest tests/e2e tests/files/test_restore.py -m "not alone and not long" \
		-n 3 --dist=loadfile --no-loadscope-reorder -v -rfEP $(PYTEST_ARGS) $(OR_NOTHING)

test-long: venv ## Variants that test-e2e leaves out, on the local Kubernetes (45 min)
	@$(LOCAL) test-tools
	@unset KUBECONFIG; $(LOCAL) bins versitygw helm
	@$(LOCAL) drivers
	@unset KUBECONFIG; $(LOCAL) up --nodes 3
	@$(ON_LOCAL_CLUSTER) $(BIN)/pytest tests/e2e tests/files/test_restore.py -m "long and not alone" \
		-n 3 --dist=loadfile --no-loadscope-reorder -v -rfEP $(PYTEST_ARGS)
	@$(ON_LOCAL_CLUSTER) $(BIN)/pytest tests/e2e -m "long and alone" -v -rfEP $(PYTEST_ARGS)

e2e-alone: ## The part of test-e2e beside which nothing runs
	@echo "== end-to-end tests beside which nothing runs"
	@$(ON_LOCAL_CLUSTER) $(BIN)/pytest tests/e2e -m "alone and not long" -v -rfEP $(PYTEST_ARGS) \
		$(OR_NOTHING)

COVERAGE = env COVERAGE_FILE=$(CACHE)/coverage $(BIN)/coverage

# Without tests/files, which run scripts: they are slow, and nothing of them is measured.
coverage: venv ## Unit tests with their coverage: one figure, and the ten least covered modules
	@$(LOCAL) test-tools
	@$(COVERAGE) erase
	@$(COVERAGE) run -m pytest tests/unit -q $(PYTEST_ARGS)
	@$(COVERAGE) report --sort=cover --skip-empty | sed -n '1,12p;/^TOTAL/p'

bench: venv ## Measure speed, requests and memory (25 min; BENCH_ARGS)
	@unset KUBECONFIG; $(LOCAL) up --nodes 3
	@$(ON_LOCAL_CLUSTER) $(BIN)/python -m tests.bench $(BENCH_ARGS)

chaos: venv ## Break things under load and count lost rows (10 to 15 min; CHAOS_ARGS)
	@unset KUBECONFIG; $(LOCAL) up --nodes 3
	@$(ON_LOCAL_CLUSTER) $(BIN)/python -m tests.chaos $(CHAOS_ARGS)

soak: venv ## Play random lives of clusters and compare them with a model (1 h; SOAK_ARGS)
	@unset KUBECONFIG; $(LOCAL) up --nodes 3
	@$(ON_LOCAL_CLUSTER) $(BIN)/python -m tests.lives $(SOAK_ARGS)


.PHONY: generate docs lock format venv
generate: venv ## Write CRDs, manifests, chart copies and the reference from the code
	@$(BIN)/python -m pgoperator.generate

docs: venv ## Build the documentation as a site, in the cache; a broken link fails
	@echo "== documentation"; env NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --site-dir $(CACHE)/site
	@echo "   $(CACHE)/site/index.html"

format: venv ## Format the code and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# Without an index's address or a folder of this machine in the result.
PIP_COMPILE = env -u PIP_FIND_LINKS CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/pip-compile --quiet \
	--generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-trusted-host \
	--no-emit-find-links $(PIP_COMPILE_ARGS)

lock: venv ## Pin the dependencies of pyproject.toml with hashes (PIP_COMPILE_ARGS=--upgrade)
	@$(PIP_COMPILE) --output-file requirements/runtime.txt pyproject.toml
	@$(PIP_COMPILE) --extra dev --constraint requirements/runtime.txt --output-file requirements/dev.txt \
		pyproject.toml requirements/tools.in

venv:
	@$(LOCAL) venv >/dev/null
