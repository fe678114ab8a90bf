# Sets up a virtual environment, then runs the workflow or the tests.
PYTHON ?= python3
CORES ?= all
WORKERS ?= logical
VENV ?= .venv
BIN := $(VENV)/bin

# What `make edit` edits; taken from the command line only, as other programs set such variables, too.
FACTS = config/my_facts.csv
MODEL = smollm2-135m
METHOD = MEMIT
NAME = mine
EXPORT =
comma := ,

.PHONY: demo edit test test-all coverage gpu docs check unlock clean

demo: unlock  ## run everything on the embedded default
	$(BIN)/snakemake --cores $(CORES)

edit: unlock  ## edit facts of your own: make edit FACTS=my_facts.csv, also METHOD=, MODEL=, NAME=, EXPORT=folder
	$(BIN)/snakemake --cores $(CORES) own_facts --configfile config/mine.yaml --config 'name=$(NAME)' \
		'facts={path: "$(FACTS)", model: "$(MODEL)", method: "$(METHOD)"$(if $(EXPORT),$(comma) export: "$(EXPORT)")}'
	@cat 'results/$(NAME)/facts.txt'

test: $(VENV)/.development  ## run the tests, but for the slow lane
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m "not slow"

test-all: $(VENV)/.development  ## run all tests: kills and resumes, the real model, a browser, Slurm too
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup

coverage: $(VENV)/.development  ## run the tests, but for the slow lane, and list the lines that they leave out
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m "not slow" --cov

gpu: $(VENV)/.development  ## prove the engine on this machine's GPU, then measure it for ten minutes; goes on where it was stopped
	$(BIN)/python -m pytest tests/editing/test_gpu.py
	$(BIN)/python benchmarks/gpu.py

docs: $(VENV)/.development  ## build the pages of docs/ as a site, build/site/index.html
	$(BIN)/mkdocs build --strict --quiet

check: $(VENV)/.development docs  ## formatters, linters and types, and the links of docs/
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint
	$(BIN)/lint-imports

unlock: $(VENV)/.pipeline  # take away what a killed run left locked
	@$(BIN)/python scripts/unlock.py

clean:  ## remove everything that was generated
	rm -rf resources logs build .snakemake
	find results -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.pipeline: envs/requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -r $<
	@touch $@

$(VENV)/.development: envs/development.txt envs/cluster.txt envs/harness.txt $(VENV)/.pipeline
	$(BIN)/python -m pip install --disable-pip-version-check -r $<
	@touch $@
