# Two commands: `make workbench` and `make test`. Each does the whole set-up on a machine with Python 3.11 and pip.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: workbench setup test browser check format bench clean

workbench: setup  ## start the workbench on http://localhost:8501
	$(BIN)/streamlit run workbench/app.py

setup: $(STAMP)  ## make .venv with everything in it, and the command .venv/bin/maskmtl

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, this is " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

browser:  ## Chromium for the browser tests, where apt can install it
	@command -v chromium >/dev/null || { command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] \
	  && apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; } \
	  || echo 'Chromium is missing and could not be installed: the browser tests will say that they were skipped'

test: setup browser  ## lint, types, import rules and all tests
	$(MAKE) check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

check: setup  ## lint, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup  ## rewrite the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup  ## upload to answer on this machine
	$(BIN)/python benchmarks/face_page.py

clean:  ## remove what the commands above made
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
