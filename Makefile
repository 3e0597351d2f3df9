# One command per wish. Needs Python 3.11, 3.12 or 3.13 with venv, git, bash and the base utilities; installs the rest.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.PHONY: help test chaos demo bench docs picture screenshots fmt lock clean checks lint format types imports

PY := .venv/bin/python
WORKERS ?= auto
ARGS ?=
PYTHON ?=

# $(call need,LOCK) makes .venv hold what the lock names; what keeps it from that is the one line make stops with.
need = $(call stop,$(shell PYTHON='$(PYTHON)' scripts/venv.sh $(1)))
stop = $(if $(1),$(error $(1)))
DEV := requirements-dev.lock
CODEX := requirements-codex.lock

help: ## show this
	@sed -n 's/^\([a-z]*\):.*## /  make \1|/p' Makefile | while IFS='|' read -r name text; do printf '%-14s %s\n' "$$name" "$$text"; done

demo: ## run the main job on a sample repository, with the real Codex CLI (ARGS=--keep, ARGS=--real)
	@$(call need,$(CODEX))$(PY) -m services.local demo $(ARGS)

test: ## lint, types, import directions and the whole test suite (ARGS goes to pytest)
	@$(call need,$(DEV))$(MAKE) -k -j4 --output-sync=target checks
	@$(PY) -m pytest -q -n $(WORKERS) --maxprocesses 8 --dist worksteal $(ARGS)
	@$(PY) -m tests.browser.chromium

chaos: ## kill everything again and again while runs go on (ARGS=--short, --seed N, --runs N, --kills N)
	@$(call need,$(DEV))$(PY) -m tests.chaos $(ARGS)

bench: ## measure, beside other servers and queues, and print the tables
	@$(call need,$(DEV))$(PY) -m bench $(ARGS)

docs: ## write the generated parts of the documentation
	@$(call need,$(DEV))$(PY) scripts/docs.py

picture: ## draw the README's picture anew, from a demo
	@$(call need,$(CODEX))$(PY) -m services.local demo --record docs/demo.svg

screenshots: ## take pictures of the console over a demo, with Chromium (ARGS=FOLDER)
	@$(call need,$(DEV))$(PY) -m tests.browser.screenshots $(ARGS)

fmt: ## format, and repair what ruff can repair
	@$(call need,$(DEV))$(PY) -m ruff check --quiet --fix . ; $(PY) -m ruff format .

lock: ## write the locks anew from pyproject.toml (ARGS=--upgrade takes the newest of everything)
	@scripts/lock.sh $(ARGS)

clean: ## remove what these commands made, .venv included
	@rm -rf .venv .venv-lock .venv-bench-* .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage .coverage.* htmlcov
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

checks: lint format types imports
	@echo "lint, format, types and import directions: fine"

lint:
	@$(PY) -m ruff check --quiet --output-format concise .
	@.venv/bin/shellcheck scripts/*.sh scripts/ci/*.sh

format:
	@$(PY) -m ruff format --quiet --check .

types:
	@out=$$($(PY) -m basedpyright --level error 2>&1) || { printf '%s\n' "$$out"; exit 1; }

imports:
	@out=$$(.venv/bin/lint-imports --no-logo 2>&1) || { printf '%s\n' "$$out"; exit 1; }
