# Everything runs from .venv, which the first command that needs it builds from requirements.lock.
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c '$(SUPPORTED)' >/dev/null 2>&1 && echo $$p && break; done)
PY := .venv/bin/python
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
INSTALLED := .venv/.installed
OUT ?= out

.DEFAULT_GOAL := help
.PHONY: help install run test lint lab lock

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

ARM_LINUX = $(filter Linux-aarch64,$(shell uname -sm | tr ' ' '-'))
NO_PYTHON = $(shell $(or $(PYTHON),false) -c '$(SUPPORTED)' >/dev/null 2>&1 || echo true)
FOUND = $(or $(PYTHON),python3): $(shell $(or $(PYTHON),python3) --version 2>/dev/null || echo not found)

# Ends make, in one line, where the packages cannot be installed.
define check_machine
$(if $(ARM_LINUX),$(error Box2D, the simulator, has no package for 64-bit Arm Linux: use x86-64 Linux or a Mac))
$(if $(NO_PYTHON),$(error this needs Python 3.11, 3.12 or 3.13 ($(FOUND)): install python3.11 and, on Debian, \
python3.11-venv; or name one of the three that is there: make PYTHON=/path/to/python3.11))
endef

# TORCH_INDEX=URL takes PyTorch from there. From PyPI, on Linux, it comes with gigabytes of CUDA libraries.
$(INSTALLED): requirements.lock pyproject.toml
	$(check_machine)
	$(PYTHON) -m venv .venv
	$(if $(TORCH_INDEX),$(PY) $(PIP_INSTALL) --no-deps --index-url $(TORCH_INDEX) $(shell grep ^torch== requirements.lock))
	$(PY) $(PIP_INSTALL) -r requirements.lock
	$(PY) $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
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

lock:  ## add to requirements.lock what pyproject.toml asks for and it lacks
	$(check_machine)
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python $(PIP_INSTALL) pip-tools
	.venv-lock/bin/pip-compile --quiet --allow-unsafe --all-extras --strip-extras --no-emit-find-links --no-emit-index-url \
		--no-emit-trusted-host --no-emit-options $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) \
		--output-file requirements.lock pyproject.toml
	sed -i.bak -E 's/^(torch==[0-9.]+)\+.*/\1/' requirements.lock
	rm -rf requirements.lock.bak .venv-lock
