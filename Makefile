# Everything a person does here. `make` alone says what there is.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= python3
JOBS ?= $(shell nproc)
# Tests of whole processes wait for a third of their time.
TEST_JOBS ?= $(shell echo $$(( ($(JOBS) * 3 + 1) / 2 )))
FUZZ_SECONDS ?= 600
TORTURE_SECONDS ?= 3600
BIN := .venv/bin
RUN := $(BIN)/.installed-run
DEV := $(BIN)/.installed-dev

.PHONY: help run demo cluster man test nightly fuzz torture check check-types check-rest bench bench-docs docs proto changes clean

help:
	@echo 'make run    the suite on this machine, with suite.ini (Ctrl-C stops it)'
	@echo 'make demo   the suite with somebody at each service, to look at (Ctrl-C ends it)'
	@echo 'make test   every test'
	@echo 'make nightly  what takes too long for every change'
	@echo 'make fuzz   each place where bytes of others are read, FUZZ_SECONDS long'
	@echo 'make cluster  three nodes with PostgreSQL, Redis and HAProxy on this machine (Ctrl-C stops them)'
	@echo 'make torture  all services under all faults, TORTURE_SECONDS long; SEED=… does one again'
	@echo 'make check  lint, types, documentation, packaging'
	@echo 'make bench  how fast it is, beside what one would use instead; ROWS="counter-1 start" for some of it'
	@echo 'make bench-docs  what the last make bench has found, into the documentation'
	@echo 'make docs   the documentation, in docs/_build/html'
	@echo 'make man    manual pages of the programs, in build/man'
	@echo 'make proto  the code generated from bus.proto'
	@echo 'make changes  an entry in CHANGES.rst of what is in newsfragments; VERSION=1.0.0'
	@echo 'make clean  remove what these made'

run: $(RUN)
	@exec $(BIN)/twistd -n --pidfile= protosuite --config suite.ini

demo: $(RUN)
	@exec $(BIN)/python -m demo $(if $(DEMO_SECONDS),--seconds $(DEMO_SECONDS))

test: $(DEV)
	@mkdir -p build; failed=0; \
	for part in "-j $(JOBS) protosuite" "-j $(TEST_JOBS) tests"; do \
	    name=$${part##* }; \
	    $(BIN)/trial --temp-directory build/trial-$$name $$part 2>&1 | tee build/$$name.log || failed=1; \
	done; exit $$failed

nightly: $(DEV)
	PROTOSUITE_NIGHTLY=1 $(BIN)/trial --temp-directory build/trial-nightly \
	    tests.test_websocket.AutobahnTests tests.faults.test_kills

# By hand. What it finds is in build/fuzz, and makes the next run begin further on.
fuzz: $(DEV)
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) --jobs $(JOBS) 2>/dev/null

# By hand. A summary and a plot are in build/torture; what was violated ends it with 1, and the seed.
torture: $(DEV)
	@$(BIN)/python -m tests.faults.torture --seconds $(TORTURE_SECONDS) $(if $(SEED),--seed $(SEED))

# Debian's packages postgresql, redis-server and haproxy have to be there.
cluster: $(DEV)
	@PATH="$$PATH:/usr/sbin" $(BIN)/python -m tests.cluster

# The types take as long as all the rest.
check: $(DEV)
	@$(MAKE) --no-print-directory -j 2 check-types check-rest

check-types: $(DEV)
	$(BIN)/mypy

check-rest: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python .ci/generated.py
	$(BIN)/python .ci/packaging.py
	$(MAKE) docs

bench: $(DEV)
	$(BIN)/python -m benchmarks $(ROWS)

# Copies build/bench to docs/explanation/performance and writes its tables there, to be committed.
bench-docs: $(DEV)
	$(BIN)/python -m benchmarks.publish

docs: $(DEV)
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html

man: $(DEV)
	COLUMNS=100 $(BIN)/python docs/manpages.py build/man

# The code that is generated from bus.proto; .ci/generated.py holds it against what is committed.
proto: $(DEV)
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. protosuite/bus/bus.proto

# The version is written in protosuite/__init__.py; this takes it from there unless it is given.
changes: $(DEV)
	$(BIN)/towncrier build --yes $(if $(VERSION),--version $(VERSION))

clean:
	rm -rf .venv build dist docs/_build *.egg-info _trial_temp* .mypy_cache .ruff_cache .hypothesis

# The stamps keep a second run off the network.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "protosuite needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv .venv

$(RUN): setup.cfg pyproject.toml | $(BIN)/pip
	$(BIN)/pip install -q -e .
	@touch $@

$(DEV): setup.cfg pyproject.toml | $(BIN)/pip
	$(BIN)/pip install -q -e '.[tls,redis,test,fuzz,check,docs,bench]'
	@touch $@ $(RUN)
