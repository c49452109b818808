# One way to do each thing; .ci/run calls the same targets.

PYTHON ?= python3
VENV ?= .venv
# Arguments of pip that bring torch and torchvision, for instance with the index of another build.
TORCH ?= torch torchvision

BIN := $(VENV)/bin
STAMP := $(VENV)/.setup
FASHION_MNIST := /usr/share/datasets/fashion-mnist
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help setup data browser prometheus demo test chaos fuzz image check reference stubs lint-proto format clean

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) data ## Make the environment and find Fashion-MNIST.

$(STAMP): pyproject.toml constraints.txt $(wildcard */pyproject.toml)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade pip
	$(PIP) install --quiet $(TORCH)
	$(PIP) install --quiet -c constraints.txt --group dev \
		-e ./proto -e './client[cli,torch]' -e './trainer[datasets,ray,report]' -e './server[postgresql,s3,traces]'
	touch $@

data: # A package of Debian and Ubuntu; elsewhere torchvision's own download does.
	@if [ -d $(FASHION_MNIST) ]; then \
		:; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] \
		&& apt-get update -qq && apt-get install -y -qq dataset-fashion-mnist; then \
		echo "Fashion-MNIST is in $(FASHION_MNIST)"; \
	else \
		echo "Fashion-MNIST is not installed; torchvision will download it on first use"; \
	fi

browser: # For the test that looks at the trainer's report; skipped where there is none.
	@if command -v chromium >/dev/null || command -v chromium-browser >/dev/null \
		|| command -v google-chrome >/dev/null; then \
		:; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] \
		&& apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; then \
		echo "Chromium is installed"; \
	else \
		echo "Chromium is not installed; the test of the report in a browser will be skipped"; \
	fi

prometheus: # For the tests of dashboard and alerts; skipped where there is none.
	@if command -v prometheus >/dev/null && command -v promtool >/dev/null; then \
		:; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] \
		&& apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus; then \
		echo "Prometheus is installed"; \
	else \
		echo "Prometheus is not installed; the tests of dashboard and alerts in it will be skipped"; \
	fi

demo: setup ## Compress a network for Fashion-MNIST, through a server of its own.
	$(BIN)/python examples/demo.py

test: setup browser prometheus ## Run the tests.
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --ignore tests/chaos
	@# Its workers need the whole machine to be punctual.
	$(BIN)/python -m pytest tests/chaos

chaos: setup ## Kill servers and workers at random, and see that nothing is lost.
	$(BIN)/python -m tests.chaos --output benchmarks/results/chaos.json

fuzz: setup ## Send the API more than 20,000 requests that it should not get.
	$(BIN)/python -m pytest tests/fuzz --hypothesis-profile fuzz --timeout 1800

image: ## Build the container image and ask a server in it for its health.
	deploy/image.sh

check: setup lint-proto ## Check format, style, types, imports, protos, stubs and the Dockerfile.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python proto/generate.py --check
	$(BIN)/hadolint Dockerfile

reference: setup ## Write the API reference of the SDK, from its docstrings, to site/.
	$(BIN)/pdoc archpress_client --docformat google --output-directory site

stubs: ## Generate the Python stubs from the protos.
	$(PYTHON) proto/generate.py

lint-proto: $(STAMP) ## Check the protos.
	@# A copy, since the protos that they import are those of an installed package.
	@copy=$$(mktemp -d) && trap 'rm -rf "$$copy"' EXIT \
	&& rpc=$$($(BIN)/python -c 'import google.rpc; print(list(google.rpc.__path__)[0])') \
	&& cp -R proto/buf.yaml proto/archpress_proto "$$copy" \
	&& mkdir -p "$$copy/google/rpc" && cp "$$rpc/status.proto" "$$copy/google/rpc" \
	&& buf=$$(cd $(BIN) && pwd)/buf && cd "$$copy" && "$$buf" lint \
	&& "$$buf" format --diff --exit-code --path archpress_proto

format: $(STAMP) ## Format the code and sort the imports.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Remove the environment and the tools' caches.
	rm -rf $(VENV) site .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
