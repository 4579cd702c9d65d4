# Short names for ./run, which sets up what is missing and needs no make.
.PHONY: check test bench docs lock clean

check:  ## static checks and the fast tests, within a minute
	./run check

test:  ## everything
	./run test

bench:  ## the benchmarks, each beside its peer
	./run bench

docs:  ## writes the generated pages of docs/reference
	./run setup test
	.venv/bin/python scripts/gendocs.py

lock:  ## writes the lock files anew from pyproject.toml
	scripts/lock

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist tests/support/*/node_modules
