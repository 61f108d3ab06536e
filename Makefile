# Two commands do everything on a fresh machine: `make demo` and `make test`. `make check` is the fast gate.

.DEFAULT_GOAL := help
.PHONY: help setup demo test check soak format wheel clean
MAKEFLAGS += --no-print-directory
# Where bytecode may not be written, every process would compile torch, ray and vllm again.
unexport PYTHONDONTWRITEBYTECODE PYTHONPATH

BIN := .venv/bin

help:   ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

setup:  ## build .venv, or bring it up to date
	@python3 .ci/setup_env.py

demo: setup  ## label, train and serve on real video frames: alignhmr-demo/report.html
	@$(BIN)/alignhmr demo

test: setup  ## every test
	@$(BIN)/python -m pytest

check: setup  ## format, lint, types, import contracts, fast tests
	@$(BIN)/ruff format --check --quiet . || { echo "run: make format"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@# Types: `alignhmr` is the folder's name for pyright, whatever the checkout is called.
	@link=$$(mktemp -d) && ln -s "$(CURDIR)" "$$link/alignhmr" && \
	  $(BIN)/pyright --project "$$link/alignhmr" --pythonpath "$(CURDIR)/$(BIN)/python"; \
	  status=$$?; rm -r "$$link"; exit $$status
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m pytest --quiet -m "not slow and not ray and not vllm"

soak: setup  ## label for 20 minutes while workers, drivers and nodes are killed: soak.log
	@$(BIN)/python tests/benchmarks/label_faults.py --minutes 20 2>&1 | tee soak.log

format: setup  ## put the code into its format, and mend what the linter can
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

wheel: setup  ## dist/alignhmr-*.whl
	@rm -rf build dist
	@$(BIN)/uv build --quiet --wheel --no-build-isolation --python $(BIN)/python --out-dir dist .
	@rm -rf build && ls dist/*.whl

clean:  ## what was built, but neither .venv nor the cache of assets
	@rm -rf build dist alignhmr-demo *.egg-info .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -not -path "./.venv/*" -prune -exec rm -rf {} +
