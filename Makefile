# Every target does its own set-up: python3 (>= 3.11) and pip are all it needs.
PYTHON ?= python3
BIN := .venv/bin
PARITY_BIN := .venv-parity/bin

.PHONY: demo test parity lint types imports format clean

demo: .venv/demo.stamp
	$(BIN)/jaxcls classify --format table \
	  'SELECT name, count(*) FROM visits GROUP BY name ORDER BY 2 DESC LIMIT 10;' \
	  'def mean(values): return sum(values) / len(values)' \
	  '<ul><li><a href="/about">About</a></li></ul>' \
	  'fn main() { let words: Vec<&str> = text.split(" ").collect(); println!("{}", words.len()); }'

test: .venv/test.stamp
	$(BIN)/python -m pytest -n 2 --dist loadgroup

parity: .venv-parity/stamp
	$(PARITY_BIN)/python -m tests.parity.live --check

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev.stamp
	$(BIN)/pyright

imports: .venv/dev.stamp
	$(BIN)/lint-imports

format: .venv/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-parity

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/demo.stamp: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

.venv/test.stamp: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

.venv/dev.stamp: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

# transformers with torch is the oracle; it lives apart, so that the tests show that nothing else needs torch.
.venv-parity/stamp: pyproject.toml
	$(PYTHON) -m venv .venv-parity
	$(PARITY_BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,parity]'
	@touch $@
