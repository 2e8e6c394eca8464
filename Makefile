# speechxai: `make demo` runs the main job, `make test` the whole suite, `make app` the web app. `make help` lists all.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2

.PHONY: help demo test lint app docs notebooks speed wheel-check dependency-check minimum-check python-check release-check audit-check clean
.DEFAULT_GOAL := help

help: ## list what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.core: pyproject.toml | $(BIN)/python
	@echo "Installing speechxai into $(VENV): on Linux 6.5 GB, most of it for GPUs; docs/install.md says how 1.6 GB do"
	@started=$$(date +%s) && $(BIN)/python -m pip install --quiet --editable . && \
	  echo "Installed in $$(($$(date +%s) - started)) s; $(VENV) takes $$(du -sh $(VENV) | cut -f1)"
	@touch $@

$(VENV)/.app: pyproject.toml | $(VENV)/.core
	$(BIN)/python -m pip install --quiet --editable '.[app]'
	@touch $@

$(VENV)/.docs: pyproject.toml | $(VENV)/.core
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "Installing speechxai with everything its tests need into $(VENV)"
	$(BIN)/python -m pip install --quiet --editable '.[all]'
	@touch $@ $(VENV)/.core $(VENV)/.app $(VENV)/.docs

demo: $(VENV)/.core ## evaluate the embedded demo: table on the screen, report in runs/demo/report.html
	$(BIN)/speechxai demo --out runs/demo

app: $(VENV)/.app ## open the web app on this computer
	$(BIN)/speechxai app

test: $(VENV)/.dev ## run the whole test suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=15 -m "not browser"
	@echo "The web app in a real browser, by itself: its tests measure times."
	$(BIN)/python -m pytest --durations=5 -m browser -rs tests/surface

lint: $(VENV)/.dev ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

speed: $(VENV)/.core ## what explaining costs, beside a naive pipeline; a few minutes
	OMP_NUM_THREADS=1 $(BIN)/python scripts/speed.py --quick

wheel-check: $(VENV)/.dev ## build a wheel; demo, training and evaluation from it, outside the checkout
	$(BIN)/python scripts/check_install.py wheel

dependency-check: $(VENV)/.dev ## whether a fresh installation today gets versions that fit
	$(BIN)/python scripts/check_install.py dependencies

docs: $(VENV)/.docs ## build the documentation into site/, every warning an error; needs no network
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet && echo "Written: site/index.html"

notebooks: $(VENV)/.dev ## execute the notebooks of docs/ anew; about a minute each
	$(BIN)/python scripts/website.py

python-check: $(VENV)/.dev ## whether every Python that pyproject.toml names gets everything as wheels, on three systems
	$(BIN)/python scripts/check_install.py pythons

release-check: $(BIN)/python ## wheel and sdist checked, installed with every extra into an empty environment; downloads gigabytes
	$(BIN)/python scripts/check_install.py release

audit-check: $(VENV)/.dev ## known weaknesses of the versions in use, where the data can be had
	$(BIN)/python scripts/check_install.py audit

minimum-check: $(BIN)/python ## demo and tests with the lowest versions that pyproject.toml declares; downloads gigabytes
	$(BIN)/python scripts/check_install.py minimum

clean: ## remove the environment and everything generated
	rm -rf $(VENV) build dist site *.egg-info runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
