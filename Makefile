# make demo   install, run the demo study on the bundled models, publish it
# make reference  run the reference study, publish it, and write the small copy that is shipped (PROMPTS=64 for fewer of its 1,000 prompts)
# make app    open the dashboard on the newest results
# make test   install, run the tests but for the long ones (all that .ci/run has: make test TESTS="not thorough")
# make test-long  those that take long: whole programs, browsers, every family of models and every figure
# make test-all  both, and those that repeat a test with other settings
# make attacks  hostile statements, links, folders and files, by the hundred
# make check  lint, format, types, the direction of imports
# make bench  the benchmarks: the tools (ratios against plain runs, in one process), DF-RISE's error against its calls, then `make bench-scale`
# make bench-peers  word maps and their cost beside DAAM and attention-map-diffusers, which it installs apart
# make bench-scale  full recording, 50 million similarities, a million units, memory, Ray (ONLY="plan resume" for some)
# make bench-app  the app on 50 million similarities in a browser: first paint, filter changes, memory (ARGS="--views models")
# make bench-steps RESULTS=DIR  frames a second at which pictures follow the step in a browser
# make bench-jobs  clicks and seconds of the four jobs in a browser (RESULTS=DIR for another study than the tests')
# make load RESULTS=DIR  what 30 readers at once wait for, and the server's memory
# make load-sql RESULTS=DIR  what other readers wait for beside 20 heavy statements on the SQL page, and the server's memory
# make figures  every figure of the shipped reference study, and of what else is there, into docs/gallery (FIGURES=... for another folder)
# make wheel  dist/stepscope-*.whl; make try-install  installs it in fresh environments and uses it there
# make lock   requirements.lock, requirements-app.lock and requirements-run.lock, from the requirements files
# make docs  docs/cli.md, of what --help prints
# make chaos  at least 200 SIGKILLs over runs and publishers, and every other fault, SIGSTOP too; prints what was lost
# make soak   10,000 reruns of the pages in one process: memory, descriptors, threads (RERUNS=500)
# make training-demo  eight checkpoints of a short training of the bundled UNet (10 minutes), sampled and published: the page Training
# make bring-your-own  a study of a sampled model, images that exist, a training run and a score of another program (some minutes)
# make train-demo  train the bundled models again (hours on a CPU)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One environment, installed as far as a target needs it: what reads snapshots, what runs studies, what tests and lints.
APP := $(VENV)/.app
RUN := $(VENV)/.run
DEV := $(VENV)/.dev
STUDY ?= data/studies/demo.toml
# Processes of a run: two with a thread each end sooner than one with two threads.
WORKERS ?= 2
RESULTS ?=
FIGURES ?= docs/gallery

.PHONY: docs lock wheel try-install install demo reference app test test-long test-all attacks check format bench bench-peers bench-scale bench-app bench-steps bench-jobs load load-sql figures train-demo training-demo bring-your-own trust clean chaos soak
.DEFAULT_GOAL := demo

install: $(DEV)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  (echo "Stepscope needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" && exit 1)
	$(PYTHON) -m venv $(VENV)

$(APP): requirements-app.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --requirement requirements-app.txt
	@touch $@

$(RUN): requirements.txt requirements-app.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	@touch $(APP) $@

$(DEV): requirements-dev.txt requirements-ray.txt requirements.txt requirements-app.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	@touch $(APP) $(RUN) $@

TRUST := data/results/demo/extra/localisation.parquet

demo: $(RUN) $(if $(filter data/studies/demo.toml,$(STUDY)),$(TRUST))
	$(BIN)/python -m pipeline run $(STUDY) --workers $(WORKERS) --threads 1
	@echo "Done. 'make app' opens the dashboard on these results."

# The shipped study: resumes, publishes, and replaces data/reference. PROMPTS decides how many of its 1,000 prompts are run.
PROMPTS ?= 1000
PICTURES ?= 8
UNNAMED ?= 32
SPECTRA ?= 256
REFERENCE ?= data/results/reference
REFERENCE_TRUST := $(REFERENCE)/extra/localisation.parquet
reference: $(RUN) $(REFERENCE_TRUST)
	$(BIN)/python -m pipeline run data/studies/reference.toml --limit $(PROMPTS) --out $(REFERENCE) --workers $(WORKERS) --threads 1
	$(BIN)/python -m pipeline compact $(REFERENCE) --out data/reference --prompts $(PICTURES) --unnamed $(UNNAMED) --spectra $(SPECTRA) --decimals 4 --quality 60 --command "make reference PROMPTS=$(PROMPTS)"

# How far the tools can be trusted: of the demo a quick look, of the reference study (from its next version on) as `make trust` has it.
$(TRUST) $(REFERENCE_TRUST): | $(RUN)
	$(BIN)/python -m pipeline demo trust $(if $(filter $(TRUST),$@),--quick) --model scenes-unet --model scenes-dit --out $(patsubst %/extra/,%,$(dir $@))

app: $(APP)
	$(BIN)/streamlit run app/main.py $(if $(RESULTS),-- $(RESULTS))

TEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder --ignore tests/attacks --ignore tests/install

TESTS ?= not long and not thorough
test: $(DEV)
	$(TEST) -m "$(TESTS)"

test-long: $(DEV)
	$(TEST) -m "long and not thorough"

test-all: $(DEV)
	$(TEST)

attacks: $(DEV)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/attacks --numprocesses 2 --dist worksteal

check: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# Exact versions of everything with hashes, for Linux, macOS and Windows; after a change of a requirements file.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url
lock: | $(BIN)/python
	$(BIN)/python -m pip install --quiet uv==0.13.9
	$(LOCK) requirements-dev.txt --output-file requirements.lock
	$(LOCK) requirements-app.txt --constraint requirements.lock --output-file requirements-app.lock
	$(LOCK) requirements.txt --constraint requirements.lock --output-file requirements-run.lock

wheel: | $(BIN)/python
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

# The wheel in environments of its own, as a user installs it; it takes the network.
try-install: $(DEV)
	$(BIN)/python -m pytest tests/install -s

docs: $(DEV)
	$(BIN)/python -m tests.support.cli_reference

format: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DEV)
	@missed=0; $(BIN)/python -m pipeline.bench.tools || missed=1; \
	  $(BIN)/python -m pipeline.bench.masks || missed=1; \
	  $(BIN)/python -m pipeline.bench.scale || missed=1; exit $$missed

bench-peers: $(DEV)
	$(BIN)/python -m pipeline.bench.peers

bench-scale: $(DEV)
	$(BIN)/python -m pipeline.bench.scale $(if $(ONLY),--only $(ONLY))

bench-app: $(DEV)
	$(BIN)/python tests/bench_app.py $(ARGS)

bench-steps: $(DEV)
	$(BIN)/python tests/bench_steps.py $(or $(RESULTS),data/results/demo)

bench-jobs: $(DEV)
	$(BIN)/python tests/bench_jobs.py $(RESULTS)

load: $(DEV)
	$(BIN)/python tests/load_readers.py $(or $(RESULTS),data/results/demo) $(ARGS)

load-sql: $(DEV)
	$(BIN)/python tests/attacks/load_sql.py $(or $(RESULTS),data/results/demo) $(ARGS)

figures: $(if $(RESULTS),$(APP),$(RUN))
	$(if $(RESULTS),,$(BIN)/python -m pipeline run data/studies/figures.toml)
	$(BIN)/python -m app.figures $(or $(RESULTS),data/reference --also data/results/figures $(wildcard data/results/causes data/results/training data/results/demo)) --all --out $(FIGURES)
	$(BIN)/python -m app.figures.thumbnails $(FIGURES)

# Resumes: checkpoints that are there are kept, and images that are finished.
training-demo: $(RUN)
	$(BIN)/python -m pipeline demo checkpoints
	$(BIN)/python -m pipeline run data/studies/training.toml --workers $(WORKERS) --threads 1

OWN := data/results/bring-your-own
bring-your-own: $(RUN)
	$(BIN)/python -m pipeline demo bring-your-own
	$(BIN)/python -m pipeline run data/studies/bring-your-own.toml --workers 1
	$(BIN)/python -m pipeline export $(OWN) --out $(OWN)-files/export
	$(BIN)/python data/scores/contrast.py $(OWN)-files/export > $(OWN)-files/contrast.jsonl
	$(BIN)/python -m pipeline scores add $(OWN) $(OWN)-files/contrast.jsonl --metric contrast --source "Pillow, standard deviation of luminance"
	$(BIN)/python -m pipeline publish $(OWN)

chaos: $(DEV)
	$(BIN)/python tests/chaos.py $(if $(KILLS),--kills $(KILLS)) $(if $(TRIES),--tries $(TRIES)) $(ARGS)

soak: $(DEV)
	$(BIN)/python -m tests.attacks.reruns $(if $(RERUNS),--reruns $(RERUNS))

trust: $(RUN)
	$(BIN)/python -m pipeline demo trust
	$(BIN)/python -m pipeline publish data/results/demo

train-demo: $(RUN)
	$(BIN)/python -m pipeline demo train --out data/results/training

clean:
	rm -rf data/results .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
