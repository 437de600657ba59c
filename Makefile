# make demo   install, run the demo study on the bundled models, publish it
# make app    open the dashboard on the newest results
# make test   install, run the tests
# make check  lint, format, types
# make bench  the benchmarks: the tools (ratios against plain runs, in one process), then `make bench-scale`
# make bench-peers  word maps and their cost beside DAAM and attention-map-diffusers, which it installs apart
# make bench-scale  full recording, 50 million similarities, a million units, memory, Ray (ONLY="plan resume" for some)
# make bench-app  the app on 50 million similarities in a browser: first paint, filter changes, memory (ARGS="--views models")
# make figures  every figure of the newest demo results into docs/gallery (FIGURES=... for another folder)
# make chaos  at least 200 SIGKILLs over runs and publishers, and every other fault; prints what was lost
# make train-demo  train the bundled models again (hours on a CPU)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
STUDY ?= data/studies/demo.toml
RESULTS ?=
FIGURES ?= docs/gallery

.PHONY: install demo app test check format bench bench-peers bench-scale bench-app figures train-demo trust clean chaos
.DEFAULT_GOAL := demo

install: $(STAMP)

$(STAMP): requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  (echo "Stepscope needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" && exit 1)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	@touch $(STAMP)

TRUST := data/results/demo/extra/localisation.parquet

demo: $(STAMP) $(if $(filter data/studies/demo.toml,$(STUDY)),$(TRUST))
	$(BIN)/python -m pipeline run $(STUDY)
	@echo "Done. 'make app' opens the dashboard on these results."

# How far the tools can be trusted: a quick look that the demo's snapshot takes in; `make trust` is the thorough one.
$(TRUST): | $(STAMP)
	$(BIN)/python -m pipeline demo trust --quick --model scenes-unet --model scenes-dit

app: $(STAMP)
	$(BIN)/streamlit run app/main.py $(if $(RESULTS),-- $(RESULTS))

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)
	@missed=0; $(BIN)/python -m pipeline.bench || missed=1; \
	  $(BIN)/python -m pipeline.bench_scale || missed=1; exit $$missed

bench-peers: $(STAMP)
	$(BIN)/python -m pipeline.bench_peers

bench-scale: $(STAMP)
	$(BIN)/python -m pipeline.bench_scale $(if $(ONLY),--only $(ONLY))

bench-app: $(STAMP)
	$(BIN)/python tests/bench_app.py $(ARGS)

figures: $(STAMP)
	$(if $(RESULTS),,$(BIN)/python -m pipeline run data/studies/gammas.toml)
	$(BIN)/python app/figures.py $(or $(RESULTS),data/results/demo --also data/results/gammas) --all --out $(FIGURES)

chaos: $(STAMP)
	$(BIN)/python tests/chaos.py $(if $(KILLS),--kills $(KILLS)) $(if $(TRIES),--tries $(TRIES))

trust: $(STAMP)
	$(BIN)/python -m pipeline demo trust
	$(BIN)/python -m pipeline publish data/results/demo

train-demo: $(STAMP)
	$(BIN)/python -m pipeline demo train --out data/results/training

clean:
	rm -rf data/results .pytest_cache .ruff_cache .mypy_cache
