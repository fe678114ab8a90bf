# A thin face: set up a virtual environment, then run the workflow or the tests.
PYTHON ?= python3
CORES ?= all
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check unlock clean

demo: $(VENV)/.pipeline unlock  ## run everything on the embedded default
	$(BIN)/snakemake --cores $(CORES)

test: $(VENV)/.development  ## run the tests
	$(BIN)/python -m pytest

check: $(VENV)/.development  ## formatters and linters
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

unlock:  # a killed run leaves its lock behind; take it away unless another run is alive here
	@if ls .snakemake/locks/* >/dev/null 2>&1 && command -v pgrep >/dev/null && ! pgrep -f '[b]in/snakemake ' >/dev/null; then \
		echo "Taking away the lock of a run that was killed"; $(BIN)/snakemake --unlock; fi

clean:  ## remove everything that was generated
	rm -rf results resources logs .snakemake

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.pipeline: envs/requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -r $<
	@touch $@

$(VENV)/.development: envs/development.txt $(VENV)/.pipeline
	$(BIN)/python -m pip install --disable-pip-version-check -r $<
	@touch $@
