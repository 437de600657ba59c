# make demo   install, run the demo study on the bundled models, publish it
# make app    open the dashboard on the newest results
# make test   install, run the tests
# make check  lint, format, types
# make bench  the benchmarks (ratios against plain runs, in one process)
# make chaos  at least 200 SIGKILLs over runs and publishers; prints what was lost
# make train-demo  train the bundled models again (hours on a CPU)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
STUDY ?= data/studies/demo.toml
RESULTS ?=

.PHONY: install demo app test check format bench chaos train-demo trust clean
.DEFAULT_GOAL := demo

install: $(STAMP)

$(STAMP): requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  (echo "Stepscope needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" && exit 1)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/python -m pipeline run $(STUDY)
	@echo "Done. 'make app' opens the dashboard on these results."

app: $(STAMP)
	$(BIN)/streamlit run app/main.py $(if $(RESULTS),-- $(RESULTS))

test: $(STAMP)
	$(BIN)/python -m pytest

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)
	$(BIN)/python -m pipeline.bench

chaos: $(STAMP)
	$(BIN)/python tests/chaos.py $(if $(KILLS),--kills $(KILLS))

trust: $(STAMP)
	$(BIN)/python -m pipeline demo trust

train-demo: $(STAMP)
	$(BIN)/python -m pipeline demo train --out data/results/training

clean:
	rm -rf data/results .pytest_cache .ruff_cache .mypy_cache
