# RiskWeave. `make help` lists the targets; each of them works as the very first command.
# The environment in .venv is made on demand and again when pyproject.toml or constraints.txt change.

PYTHON  ?= python3
WORKERS ?= 2
only    ?=
tamper  ?=

VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/installed
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow check proto bench sbom clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: $(STAMP)  ## train a private scorecard on 30,000 real clients; report in build/demo; tamper=1 then alters the log
	$(BIN)/python examples/taiwan/cut.py build/taiwan
	$(BIN)/riskweave rehearse examples/taiwan/rehearsal.toml --report build/demo $(if $(tamper),--tamper)

test: $(STAMP)  ## all tests but the slow ones
	$(PYTEST) -m "not slow" -n $(WORKERS) --dist loadfile

test-slow: $(STAMP)  ## the slow ones: stock Flower, large tables, crashes, fuzzing (RISKWEAVE_FUZZ_SECONDS a decoder)
	-$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt atheris ray
	$(PYTEST) -m slow

check: $(STAMP)  ## lint, format, types, import contracts, containers' files, generated code in step
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/docker-compose --profile postgres --profile standby config --quiet
	$(BIN)/hadolint --no-color --failure-threshold warning deploy/images/*.Dockerfile
	$(BIN)/python -m proto.generate
	git diff --exit-code -- proto/v1

proto: $(STAMP)  ## regenerate proto/v1 from the .proto files
	$(BIN)/python -m proto.generate

bench: $(STAMP)  ## run the benchmarks, or one of them with only=NAME; results in build/bench
	-$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt ray
	$(BIN)/python -m bench.run $(only)

sbom: $(STAMP)  ## the bill of materials of the environment, CycloneDX, in build/riskweave.cdx.json
	@mkdir -p build
	@test -x build/sbom/bin/cyclonedx-py || { $(PYTHON) -m venv --clear build/sbom && \
	  build/sbom/bin/python -m pip install -q --disable-pip-version-check cyclonedx-bom==7.5.0; }
	build/sbom/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --mc-type application \
	  --output-reproducible --validate --of JSON --output-file build/riskweave.cdx.json

clean:  ## remove the environment, caches and everything in build/
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is missing or older than 3.11; use make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing python3-venv"; apt-get update -q && apt-get install -q -y python3-venv; \
	  else \
	    echo "error: $(PYTHON) cannot make virtual environments; on Debian or Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; \
	  fi
	@echo "making $(VENV) and installing about 110 packages into it; the first time takes some minutes"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --no-compile -c constraints.txt -e '.[dev]'
	@$(BIN)/python -m compileall -q proto consortium models partner_node coordinator regulator rehearsal riskweave_client upkeep riskweave.py
	@touch $@
