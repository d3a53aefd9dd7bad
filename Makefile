# One environment for everything; PYTHON and VENV can be given from outside.
PYTHON ?= python3.11
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.gtr-installed
LOCK = uv pip compile --quiet --generate-hashes --no-annotate --no-header --python-version 3.11 --python-platform x86_64-unknown-linux-gnu

# List the targets
help:
	@awk '/^# /{c=substr($$0,3)} /^[a-z-]+:/{split($$1,t,":"); if (c) printf "  make %-12s %s\n", t[1], c; c=""} /^$$/{c=""}' Makefile

# Every file that is installed is one whose hash a lock file names: first what builds, then the packages, then this project.
# pip too: 23.2, which comes with Python 3.11, looks for the newest celery where a package asks for celery[redis], and then stops
# since that has no hash.
# grad-cam is published as source only; it is built with what was installed first, not with what an index offers.
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCKED = $(PIP) --require-hashes --no-build-isolation --only-binary :all: --no-binary grad-cam

$(STAMP): constraints.txt constraints-build.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the packages (about 7 GB) ..."
	@$(LOCKED) -r constraints-build.txt
	@$(LOCKED) -r constraints.txt
	@$(PIP) --no-build-isolation --no-deps -e .
	@touch $(STAMP)

# Set everything up
install: $(STAMP)

# Set up what a hospital runs: without the test tools and without the synthetic hospital
install-service:
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the packages (about 3 minutes, 7 GB) ..."
	@$(LOCKED) -r constraints-build.txt
	@$(LOCKED) -r constraints-service.txt
	@$(PIP) --no-build-isolation --no-deps -e .

# Write the lock files anew (needs uv); versions stay, but those that LOCK_FLAGS names (--upgrade-package NAME, --upgrade)
lock:
	@$(LOCK) $(LOCK_FLAGS) --extra demo --extra test pyproject.toml -o constraints.txt
	@$(LOCK) --constraint constraints.txt pyproject.toml -o constraints-service.txt
	@printf 'pip\nsetuptools\n' | $(LOCK) --constraint constraints.txt - -o constraints-build.txt
	@sed -i '1i # What installs packages, and builds this project and grad-cam: installed first. Written by `make lock`.' constraints-build.txt
	@sed -i '1i # What a hospital installs: a part of constraints.txt. Written by `make lock`.' constraints-service.txt
	@sed -i '1i # What this project and its tests install, with the SHA-256 of every file of each release. Written by `make lock`.' constraints.txt

# Write the software bill of materials (CycloneDX JSON) of what is installed in VENV
sbom:
	@$(BIN)/gtr sbom --out sbom.json
	@echo "written to sbom.json"

# Run a whole night of the synthetic hospital through the real Airflow and print its cases
demo: $(STAMP)
	@$(BIN)/gtr demo run $(if $(CT),--ct "$(CT)") $(if $(KEY_SLICE),--key-slice "$(KEY_SLICE)")

# Make a candidate from a simulated year of operated patients, through the real Airflow (half an hour on two cores)
demo-training: $(STAMP)
	@$(BIN)/gtr demo training

# A candidate is judged, approved, promoted; a worse one refused; replay, rollback, withdrawal (half an hour on two cores)
demo-retraining: $(STAMP)
	@$(BIN)/gtr demo retraining

# A simulated year with a new scanner and a shift of pathology: weekly monitors, monthly audits (a quarter of an hour on two cores)
demo-audit: $(STAMP)
	@$(BIN)/gtr demo audit

# The same after eight weeks of nights and their audits, and stay up for a look around
up: $(STAMP)
	@$(BIN)/gtr demo up $(if $(CT),--ct "$(CT)") $(if $(KEY_SLICE),--key-slice "$(KEY_SLICE)")

# Stop what `make up` started, and only that
down: $(STAMP)
	@$(BIN)/gtr demo down

# Pass the tests; one more at a time than there are cores, since many wait for a PACS, a database or Airflow
WORKERS ?= $(shell expr $$(nproc) + 1)
test: $(STAMP)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations 20

# Ruff, mypy and the layers
check: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

# Ratios against the plain way, taken in one run (BENCH_CT: a real series; default the demo's phantom)
bench: $(STAMP)
	@$(BIN)/python -m tests.bench $(if $(BENCH_CT),--ct "$(BENCH_CT)")

# Whole nights against Orthanc, and the plain pipeline on the same cases (BENCH_NIGHT_FLAGS="--cases 12 48": half an hour on two cores)
bench-night: $(STAMP)
	@$(BIN)/python -m tests.bench.bench_night $(BENCH_NIGHT_FLAGS)

# The console with 100,000 cases of ten years and 20 readers at once, on Airflow's API server (BENCH_CONSOLE_FLAGS="--cases 4000")
bench-console: $(STAMP)
	@$(BIN)/python -m tests.bench.bench_console $(BENCH_CONSOLE_FLAGS)

# Nights with a fault each at seeded moments, counted (needs Orthanc; 24 cases, 40 rounds: an hour or more on two cores)
chaos: $(STAMP)
	@$(BIN)/python -m tests.chaos $(CHAOS_FLAGS)

# Take the pictures of docs/images (needs chromium)
screenshots: $(STAMP)
	@$(BIN)/python -m tests.console.screenshots

# Remake the demo's model (half an hour on two cores)
demo-model: $(STAMP)
	@$(BIN)/python -m gtr_batch.simulation.demos.model --out gtr_batch/simulation/demo_artefact

.PHONY: help install install-service lock sbom demo demo-training demo-retraining demo-audit up down test check bench bench-night bench-console chaos screenshots demo-model
