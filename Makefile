# make demo   what the package does, on simulated data (DATA=scala2020 for real ones); results in demo/
# make test   the test suite
# make benchmark   models and all baselines on the real data under SCVI_CAE_DATA (ARGS=--quick for two folds)
# make numbers   the numbers of README and documentation, measured anew (hours; ARGS="uncertainty few_pairs" for some,
#                ARGS=--pages to write the pages' tables from docs/numbers.csv only)
# make tutorials   the notebooks, executed anew (SCVI_CAE_TUTORIAL_DATA=simulated without the real data)
# make lint   ruff, mypy and import-linter
# make docs   the documentation, in docs/_build/html; a warning is an error
# make coverage   the test suite, and the lines that it does not reach
# make package   wheel and sdist in dist/, checked, installed into empty environments and tried with the README's lines
PYTHON ?= python3
VENV ?= .venv
DATA ?= simulated
ARGS ?=
PRE ?=

LATEST_VENV ?= $(or $(TMPDIR),/tmp)/scvi_cae-latest
LATEST_PYTHON ?= $(or $(call python_of,3.13),$(call python_of,3.12))
PACKAGE_PYTHONS ?= $(foreach version,3.11 3.13,$(call python_of,$(version)))
# The first Python of a version that starts.
python_of = $(shell for python in python$(1) $${PYENV_ROOT:-$$HOME/.pyenv}/versions/$(1).*/bin/python; do \
	$$python -c "" 2>/dev/null && echo $$python && break; done)

.PHONY: demo test test-latest benchmark numbers tutorials lint docs coverage package clean

demo: $(VENV)/installed
	$(VENV)/bin/scvi-cae demo --data $(DATA) --out demo --overwrite

# The networks of the tests are too small to share out among threads, which only get in each other's way; numba,
# with which scanpy normalises, would set the number of threads of everyone.
test test-latest benchmark numbers coverage tutorials: export OMP_NUM_THREADS = 1
test test-latest benchmark numbers coverage tutorials: export NUMBA_NUM_THREADS = 1

# Processes share out the whole suite, a file at a time, since fixtures are of files. A choice of tests by ARGS runs in
# one process, unless ARGS says otherwise: each process first imports scvi-tools, which takes seconds.
PROCESSES = $(if $(ARGS),,-n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder)

test: $(VENV)/installed
	$(VENV)/bin/python -m pytest $(PROCESSES) $(ARGS)

# The same suite on the newest releases of everything, without constraints; PRE=--pre for pre-releases, too.
test-latest: $(LATEST_VENV)/installed
	$(LATEST_VENV)/bin/python -m pytest $(PROCESSES) $(ARGS)

# The table has methods of other packages if these can be installed; otherwise it names the missing ones.
benchmark: $(VENV)/installed
	-$(VENV)/bin/python -m pip install --quiet --constraint .ci/constraints.txt --group benchmark
	$(VENV)/bin/python tests/benchmarks/peers.py $(ARGS)

# Which script measures what, and which table shows it, is in docs/numbers.toml.
numbers: $(VENV)/installed
	-$(VENV)/bin/python -m pip install --quiet --constraint .ci/constraints.txt --group benchmark
	$(VENV)/bin/python tests/benchmarks/results.py $(ARGS)

# Executes every notebook anew; an error in one is an error here.
tutorials: $(VENV)/installed
	$(VENV)/bin/python -m pip install --quiet --group tutorials
	cd tutorials && PATH="$(CURDIR)/$(VENV)/bin:$$PATH" jupytext --to ipynb --execute [!_]*.py

lint: $(VENV)/installed
	$(VENV)/bin/python -m pip install --quiet --constraint .ci/constraints.txt --group dev
	$(VENV)/bin/ruff check src tests
	$(VENV)/bin/ruff format --check src tests
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

docs: $(VENV)/installed
	$(VENV)/bin/python -m pip install --quiet --constraint .ci/constraints.txt --group docs
	$(VENV)/bin/python -m sphinx -W --keep-going -b html -c docs . docs/_build/html

coverage: $(VENV)/installed
	$(VENV)/bin/python -m pytest --cov --cov-report=term --cov-report=xml $(PROCESSES) $(ARGS)

package: $(VENV)/installed
	$(VENV)/bin/python -m pip install --quiet --group package
	rm -rf dist
	$(VENV)/bin/python -m build --outdir dist
	$(VENV)/bin/python -m twine check --strict dist/*
	@test -n "$(PACKAGE_PYTHONS)" || { echo "Set PACKAGE_PYTHONS to Pythons of at least 3.11."; exit 1; }
	for python in $(PACKAGE_PYTHONS); do for file in dist/*; do \
		echo "$$($$python --version): $$file" && empty=$$(mktemp -d) && $$python -m venv $$empty && \
		$$empty/bin/python -m pip install --quiet --constraint .ci/constraints.txt $$file && \
		(cd $$empty && bin/python $(CURDIR)/.ci/quick_start.py && bin/scvi-cae --version) && \
		rm -rf $$empty || exit 1; \
	done; done

clean:
	rm -rf $(VENV) demo dist docs/_build docs/generated

$(VENV)/installed: pyproject.toml .ci/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(VENV)/bin/python -m pip install --quiet --constraint .ci/constraints.txt --group test --editable .
	touch $@

$(LATEST_VENV)/installed: pyproject.toml
	@test -n "$(LATEST_PYTHON)" || { echo "Set LATEST_PYTHON to a Python of at least 3.12."; exit 1; }
	$(LATEST_PYTHON) -m venv $(LATEST_VENV)
	$(LATEST_VENV)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(LATEST_VENV)/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager $(PRE) --group test --editable .
	touch $@
