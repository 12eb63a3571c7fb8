# The words of this project. `make` alone lists them; each builds its own environment (.venv) first.

PYTHON := .venv/bin/python
# Debian packages that the tests need beside Python, git and make; `make system` installs them.
PACKAGES := strace postgresql bubblewrap

.PHONY: help demo run test check bench crash attack gate figures docs mcp-servers system environment

help:
	@echo 'make demo     a fleet at work in one minute, with a scripted model: no money spent, nothing left running'
	@echo 'make demo MODEL=provider/name   the same with a real model, after stating the estimated cost and asking'
	@echo 'make run      the same fleet, kept up to play with'
	@echo 'make test     all tests'
	@echo 'make check    format, lint, types, floors, house style, docs'
	@echo 'make bench    the figures, each beside its bound'
	@echo 'make crash    the crash tests at full length: kills, power cuts, full disks, half an hour of work'
	@echo 'make attack   the corpora of attacks at full length: 500 injections, 30 s of races, both sandboxes as two users'
	@echo 'make gate     every branch of the gate, and how many mutants of it the tests find: some minutes'
	@echo 'make mcp-servers  published MCP servers for the crash tests, pinned; needs node and npm'
	@echo 'make figures  what the proofs of contract and machines count, on both stores, for the page of guarantees'
	@echo 'make docs     write the generated parts of the docs anew'
	@echo 'make system   Debian packages that the tests need ($(PACKAGES)); needs root'

environment:
	@.ci/environment

demo: environment
	@$(PYTHON) -m examples.support_inbox.demo $(if $(MODEL),--model '$(MODEL)') $(ARGS)

run: environment
	@$(PYTHON) -m examples.support_inbox.demo --keep $(if $(MODEL),--model '$(MODEL)') $(ARGS)

test: environment
	@$(PYTHON) -m pytest -n 4 --dist worksteal -q $(ARGS)

check: environment
	@$(PYTHON) -m ruff format --check --quiet .
	@$(PYTHON) -m ruff check --quiet .
	@$(PYTHON) -m mypy
	@.venv/bin/lint-imports --no-logo
	@$(PYTHON) -m pytest -q tests/test_tidy.py tests/test_docs.py -m "not slow"

bench: environment
	@$(PYTHON) -m benchmarks $(ARGS)

# The attacked fleets listen on loopback alone; every address that they reach for is a name of the tests' own.
attack: environment
	@OSTINATO_CRASH=full OSTINATO_FIGURES=docs/explanation/guarantees.json \
		$(PYTHON) -m pytest -q tests/security tests/sandbox tests/models/test_malformed.py $(ARGS)
	@$(PYTHON) -m docs.generate

gate: environment
	@$(PYTHON) -m coverage run --branch --data-file=/tmp/ostinato-gate.coverage \
		--include='*/domain/policy.py,*/domain/gate.py,*/domain/permission.py,*/domain/question.py,*/domain/host.py,*/domain/taint.py,*/agents/turn_gate.py' \
		-m pytest -q -p no:cacheprovider tests/domain/test_policy.py tests/domain/test_permission.py tests/domain/test_question.py \
			tests/domain/test_deciders.py tests/domain/test_host.py tests/domain/test_taint.py \
			tests/agents/test_turn_gate.py tests/agents/test_turns.py tests/security/test_taint.py
	@$(PYTHON) -m coverage report --show-missing --fail-under=100 --data-file=/tmp/ostinato-gate.coverage
	@$(PYTHON) -m tests.mutation $(ARGS)

FIGURES := tests/machines $(addprefix tests/,contract/test_contract.py postgres/test_contract.py postgres/test_machines.py)

# First, alone, what must happen within seconds; then the rest in four workers, of which two mostly wait.
CRASH := OSTINATO_CRASH=full OSTINATO_FIGURES=docs/explanation/guarantees.json $(PYTHON) -m pytest -q
crash: environment
	@status=0; \
	$(CRASH) tests/postgres/test_nodes.py $(ARGS) || status=1; \
	$(CRASH) -n 4 --dist worksteal tests/soak tests/crash tests/power tests/simulation $(FIGURES) \
		tests/domain/test_schedule_clocks.py \
		$(addprefix tests/postgres/,test_cuts.py test_every_cut.py test_siege.py test_turns.py) $(ARGS) || status=1; \
	$(PYTHON) -m docs.generate && exit $$status

figures: environment
	@OSTINATO_FIGURES=docs/explanation/guarantees.json $(PYTHON) -m pytest -q $(FIGURES)
	@$(PYTHON) -m docs.generate

docs: environment
	@$(PYTHON) -m docs.generate

# Not among PACKAGES: only the long form of the tests needs node.
MCP_SERVERS := $(or $(OSTINATO_MCP_SERVERS),/var/tmp/ostinato-mcp)
mcp-servers:
	@npm install --silent --no-audit --no-fund --prefix $(MCP_SERVERS) \
		@modelcontextprotocol/server-filesystem@2026.8.31 @modelcontextprotocol/server-memory@2026.8.31 \
		@modelcontextprotocol/server-everything@2026.8.31
	@chmod -R a+rX $(MCP_SERVERS)

system:
	@if [ "$$(id -u)" != 0 ]; then echo 'make system installs packages and needs root: sudo make system' >&2; exit 1; fi
	@missing=; for each in $(PACKAGES); do dpkg -s $$each >/dev/null 2>&1 || command -v $$each >/dev/null || missing="$$missing $$each"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if ! command -v apt-get >/dev/null; then echo "not a Debian: install by your own means:$$missing" >&2; exit 1; fi; \
	apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing
