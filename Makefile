PYTHON ?= python3
TOOLS := .cache/tools
NOX := $(TOOLS)/bin/nox

.PHONY: help demo test lint bench bench-check stack clean
.DEFAULT_GOAL := help

help:  ## Show what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /make \1	/'

demo: $(NOX)  ## A day of events, to a file and to an OTLP receiver, on this machine alone
	@$(NOX) --session demo

test: $(NOX)  ## Everything: lint, types, and all tests on each Python that is here
	@$(NOX) --session lint tests lowest chaos jupyter stack

lint: $(NOX)  ## ruff and mypy
	@$(NOX) --session lint

stack:  ## The Collector, Prometheus and Kafka that the tests of deploy/ run, made once and kept in your cache
	@$(PYTHON) tests/stack/build_stack.py

bench: $(NOX)  ## Time against the peers: an event, the whole way to a collector, latency, growth
	@$(NOX) --session bench

bench-check: $(NOX)  ## Fail where an event costs more, beside the peers, than the committed ratios say
	@$(NOX) --session bench -- --check

clean:  ## Remove what the above have made
	rm -rf .cache .nox build dist

$(NOX): Makefile
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed: make PYTHON=...") if sys.version_info < (3, 10) else None'
	@echo "Setting up the tools in $(TOOLS), once ..."
	@$(PYTHON) -m venv $(TOOLS)
	@$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check 'nox>=2024.10' 'uv>=0.5'
	@touch $(NOX)
