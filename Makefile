# Everything runs from .venv, which the first command that needs it builds from requirements.lock.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do $$p --version >/dev/null 2>&1 && echo $$p && break; done)
PY := .venv/bin/python
INSTALLED := .venv/.installed
OUT ?= out

.DEFAULT_GOAL := help
.PHONY: help install run test lint lab lock

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

install: $(INSTALLED)  ## build .venv from requirements.lock

run: $(INSTALLED)  ## train and play the whole assignment from nothing, into out/
	rm -rf $(OUT)
	$(PY) main.py run-all --out-dir $(OUT)

test: $(INSTALLED)  ## run the tests
	$(PY) -m pytest

lint: $(INSTALLED)  ## check style and types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

lab: $(INSTALLED)  ## open the notebook in JupyterLab
	./jupyter-lab.sh

-include benchmarks/benchmarks.mk

lock:  ## resolve pyproject.toml anew into requirements.lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet torch==2.13.0 pip-tools
	.venv-lock/bin/pip-compile --quiet --allow-unsafe --extra dev --strip-extras --no-emit-find-links --no-emit-index-url \
		--no-emit-trusted-host --no-emit-options --upgrade-package torch==2.13.0 --output-file requirements.lock pyproject.toml
	sed -i.bak "s/^torch==2.13.0+.*/torch==2.13.0/" requirements.lock && rm -rf requirements.lock.bak .venv-lock
