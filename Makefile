# The two commands of the README, `make study` and `make test`, each set up what they need on a bare machine.

PYTHON ?=
TRIALS ?= 40
ARGS ?=
FAULTS ?= 2000
SEED ?= 1
# Further packages: ja, zh for texts of these languages, database for PostgreSQL's programs, ray for Ray.
EXTRAS ?=
BIN := .venv/bin
# Twice the number of processors: many tests wait for processes, clocks and a database.
WORKERS := $(shell expr $$(getconf _NPROCESSORS_ONLN) '*' 2)

.PHONY: study test fuzz test-processors chaos check audit test-full experiments bench screenshots schema \
	miniature-weights lock clean

study: .venv/.runtime $(EXTRAS:%=.venv/.extra-%)
	$(BIN)/python study.py --trials $(TRIALS) $(ARGS)

test: .venv/.development
	$(BIN)/python -m pytest --numprocesses=$(WORKERS) --maxprocesses=4 --dist=loadfile $(ARGS)

# Bad input by the thousand: 5,000 inputs for each parser, and how many were refused and accepted.
fuzz: .venv/.development
	$(BIN)/python -m pytest tests/test_fuzz.py -s --timeout=0 --hypothesis-profile=fuzz --hypothesis-seed=$(SEED) $(ARGS)

# The tests that compute, under the kernels of other processors: an hour and more; `--quick` is part of CI.
test-processors: .venv/.development
	$(BIN)/python -m tests.processors $(ARGS)

# Faults by the thousand, on real processes and a real PostgreSQL: an hour and more (docs/reliability.md).
chaos: .venv/.development
	$(BIN)/python -m tests.chaos --faults $(FAULTS) --seed $(SEED) $(ARGS)

# Lint, format, types, the direction of imports, and a scan for secrets of the files that git does not ignore. The scan
# asks nobody; --redact keeps what it finds out of CI's log.
check: .venv/.development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/kingfisher scan . $(patsubst %,--exclude '%',$(shell cat .gitignore)) \
		--git-history=none --no-validate --no-update-check --redact --quiet

# Known vulnerabilities of all that the lock files name. It asks PyPI, so it is no part of `check`; what PyPI does not
# know makes it fail (--strict) instead of passing unaudited.
audit: .venv/.uv
	for lock in requirements/*.txt; do \
		$(BIN)/uv tool run pip-audit@2.10.1 --strict --disable-pip --require-hashes -r $$lock || exit 1; \
	done

# A full-size base with random weights, two optimizer steps on a CPU: 13 GB of memory, some minutes.
test-full: .venv/.development
	$(BIN)/python -m pytest -m full $(ARGS)

# The figures of docs/experiments.md.
experiments: .venv/.runtime
	$(BIN)/python docs/experiments.py

# Short forms of all benchmarks, some ten minutes; without --short they make the figures of docs/experiments.md and
# operations.md. `search`, `scale` and `throughput` print their ratios to the committed figures (benchmarks/figures.json).
bench: .venv/.development
	$(BIN)/python -m pytest benchmarks
	$(BIN)/python -m benchmarks.facts
	$(BIN)/python -m benchmarks.search --short
	$(BIN)/python -m benchmarks.throughput --short
	$(BIN)/python -m benchmarks.scale --short
	$(BIN)/python -m benchmarks.service
	$(BIN)/python -m benchmarks.on_ray
	$(BIN)/python -m benchmarks.data
	$(BIN)/python -m benchmarks.dashboard --short
	$(BIN)/python -m benchmarks.report

# The pictures of the README, in Chromium, of a search and its confirmation: a quarter of an hour if there is none yet.
screenshots: .venv/.development
	test -f runs/miniature/best_config.json || $(BIN)/python study.py --repeats 2 --confirm --set speech.sentences=2
	$(BIN)/python docs/screenshots.py runs/miniature docs

# The published schemas of best_config.json and study.toml, from their models.
schema: .venv/.runtime
	$(BIN)/python -m search.settings.schemas

# Trains the weights of the miniature base again and writes search/preparation/miniature_weights.npz.
miniature-weights: .venv/.runtime
	$(BIN)/python -m benchmarks.miniature_weights

# The virtual environment holds exactly what the lock files name; their hashes are checked. uv installs in parallel.
# Compiled bytecode halves the start of a search (torch and TTS import in 6 s instead of 12, measured).
.venv/.uv: requirements/uv.txt
	@PYTHON="$(PYTHON)" sh requirements/venv.sh
	touch $@

UV = $(BIN)/uv pip $(1) --quiet --compile-bytecode --python $(BIN)/python --require-hashes
ALWAYS = requirements/uv.txt $(patsubst .venv/.extra-%,requirements/%.txt,$(wildcard .venv/.extra-*))

.venv/.runtime: requirements/runtime.txt .venv/.uv
	$(call UV,sync) $(if $(wildcard .venv/.development),requirements/development.txt,requirements/runtime.txt) $(ALWAYS)
	touch $@

.venv/.development: requirements/development.txt .venv/.uv
	$(call UV,sync) requirements/development.txt $(ALWAYS)
	touch $@ .venv/.runtime

.venv/.extra-%: requirements/%.txt .venv/.uv
	$(call UV,install) -r $<
	touch $@

# Pins again from requirements/*.in.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
lock: .venv/.uv
	$(COMPILE) requirements/uv.in -o requirements/uv.txt
	$(COMPILE) requirements/runtime.in -o requirements/runtime.txt
	$(COMPILE) requirements/development.in -c requirements/runtime.txt -o requirements/development.txt
	for extra in ja zh database ray; do \
		$(COMPILE) requirements/$$extra.in -c requirements/runtime.txt -o requirements/$$extra.txt || exit 1; \
	done

clean:
	rm -rf .venv runs
