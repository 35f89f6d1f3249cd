# Needs Python 3.11 or newer and make; everything else is set up in .venv from requirements.lock.
PYTHON ?= python3
BIN := .venv/bin
# Tests wait for servers, browsers and retries a quarter of their time: as many workers as processors left these idle.
WORKERS ?= 5
# RavenDB's own clients want other versions of packages, so each has an environment of its own, in which tests run it.
CLIENTS := build/clients/ravendb7/ready build/clients/pyravendb3/ready
LOCKS := tests/client/environments
# Azure's blob storage for tests, from npm: where there is no node, they are skipped and say so.
AZURITE := build/azurite/ready
# What calls the C of Muniment: its seal is of them, too (hatch_build.py).
CALLERS := src/muniment/native.py src/muniment/smuggler/cut.py
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq

.PHONY: help demo test check found torture format bench screenshots docs lock clean

help: ## list what can be made
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' Makefile

demo: .venv/ready ## show backup and restore at work; DUMP=file brings your own documents, STORAGE=postgresql shows it there
	$(BIN)/python examples/demo$(if $(STORAGE),_$(STORAGE)).py $(if $(DUMP),--dump "$(DUMP)")

test: ## check, then all tests in parallel; T=path runs only those, ARGS= goes to pytest
	@$(MAKE) --no-print-directory --jobs 2 .venv/ready $(CLIENTS) $(AZURITE) $(if $(T),,check found)
	$(BIN)/python -m pytest $(if $(T),$(T),-n $(WORKERS) --dist worksteal) $(ARGS)

check: .venv/ready ## lint, format, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy .
	$(BIN)/lint-imports --no-logo

# Beside the types, which take one processor alone: else each of the workers would rewrite the asserts of all tests anew.
found: .venv/ready
	@found=$$($(BIN)/python -m pytest --collect-only -q 2>&1) || { echo "$$found"; exit 1; }

torture: .venv/ready ## inject faults and tell what became of them; MINUTES=10 SEED=1 KIND=flips CASE=number
	$(if $(KIND),,HYPOTHESIS_PROFILE=thorough $(BIN)/python -m pytest -m torture)
	$(BIN)/python -m tests.torture $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) \
	    $(if $(KIND),--kind "$(KIND)") $(if $(CASE),--case $(CASE))

format: .venv/ready ## let ruff fix and format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: .venv/ready ## run the benchmarks; B=benchmarks/one.py only that, ARGS= goes to each
	@set -e; for bench in $(or $(B),$(filter-out benchmarks/_%,$(wildcard benchmarks/*.py))); do \
	    echo "== $$bench"; $(BIN)/python $$bench $(ARGS); done

screenshots: .venv/ready ## keep how the page looks in its tests, in build/screenshots, where make docs finds it
	SCREENSHOTS=build/screenshots $(BIN)/python -m pytest -q tests/studio

docs: build/docs/ready ## make the documentation as a site that needs no network, in build/site
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=. build/docs/bin/mkdocs build --quiet --strict

lock: build/uv/bin/uv ## re-create the locks with the newest versions that pyproject.toml allows
	build/uv/bin/uv --no-config --quiet pip compile pyproject.toml --all-extras --group dev --universal \
	    --python-version 3.11 --generate-hashes --upgrade --no-header --output-file requirements.lock
	@! grep -nE '^ *-[^ -]|--(index|extra|find|trusted)|://|[ "](/|file:)' requirements.lock

	build/uv/bin/uv --no-config --quiet pip compile pyproject.toml --group docs --universal --python-version 3.11 \
	    --generate-hashes --upgrade --no-header --output-file requirements-docs.lock
	@! grep -nE '^ *-[^ -]|--(index|extra|find|trusted)|://|[ "](/|file:)' requirements-docs.lock

clean: ## remove everything that make and the tools created
	rm -rf .venv build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

# The stamps are touched last, so a setup that was interrupted is begun anew.
.venv/ready: .venv/locked pyproject.toml hatch_build.py $(wildcard src/muniment/*.[ch]) $(CALLERS)
	$(PIP) install --no-deps --no-build-isolation --editable .
	$(PIP) check
	@touch $@

.venv/locked: requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(None if sys.version_info >= (3, 11) else \
	    "Muniment needs Python 3.11 or newer, and $(PYTHON) is " + v + ". Name another: make PYTHON=python3.12")'
	$(PYTHON) -m venv --clear .venv
	$(PIP) install --require-hashes --only-binary :all: --requirement requirements.lock
	@touch $@

build/clients/%/ready: $(LOCKS)/%.lock $(LOCKS)/setuptools.lock
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip --disable-pip-version-check -qq install --no-deps --require-hashes \
	    --requirement $(LOCKS)/setuptools.lock
	$(@D)/bin/python -m pip --disable-pip-version-check -qq install --no-deps --require-hashes --no-build-isolation \
	    --requirement $<
	@touch $@

build/azurite/ready: tests/backup/azurite/package.json tests/backup/azurite/package-lock.json
	mkdir -p $(@D)
	cp $^ $(@D)
	@if ! command -v npm >/dev/null || (cd $(@D) && \
	    npm ci --ignore-scripts --omit=optional --no-audit --no-fund --fetch-retries=1 --silent); then touch $@; \
	    else echo "npm could not bring Azurite: the tests of Azure's storage are skipped"; fi

build/docs/ready: requirements-docs.lock
	$(PYTHON) -m venv --clear build/docs
	build/docs/bin/python -m pip --disable-pip-version-check -qq install --require-hashes --only-binary :all: --requirement $<
	build/docs/bin/python -m pip --disable-pip-version-check -qq install --no-deps --no-build-isolation --editable .
	@touch $@

build/uv/bin/uv:
	$(PYTHON) -m venv --clear build/uv
	build/uv/bin/pip --disable-pip-version-check -qq install uv
