# Every target does its own set-up: python3 (>= 3.11) and pip are all it needs.
PYTHON ?= python3
BIN := .venv/bin
PARITY_BIN := .venv-parity/bin

BENCH := .bench
BENCH_PYTHON := $(BENCH)/environments/jaxcls/bin/python
BENCH_FOLDERS := --models-folder $(BENCH)/models --environments $(BENCH)/environments --cache $(BENCH)/cache

.PHONY: demo test parity aot gpu bench bench-all lint types imports format clean

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
	$(PARITY_BIN)/python -m pytest -q tests/parity/test_pipelines.py tests/parity/test_cross_encoder.py \
	  tests/parity/test_embedders.py tests/real

# Every kernel by the real compilers of v5e, v6e, TPU7x and H100, which need no such device, and a whole model by one.
aot: .bench/aot.stamp
	$(BENCH)/environments/accelerators/bin/python -m benchmarks.compile_kernels --output $(BENCH)/kernels.jsonl
	$(BENCH)/environments/accelerators/bin/python -m benchmarks.compile_accelerators --models minilm --targets v6e

# All that needs a Hopper GPU; where jax for CUDA is installed already, python -m benchmarks.gpu_checks is the same.
gpu: .venv-gpu/stamp
	.venv-gpu/bin/python -m benchmarks.gpu_checks

# One small model against the peers of one environment: minutes.
bench: .bench/short.stamp
	$(BENCH_PYTHON) -m benchmarks.compare $(BENCH_FOLDERS) --models minilm \
	  --peers jaxcls,transformers-sdpa,onnxruntime,openvino --limit 200,20,40 --seconds 3 --rounds 2 \
	  --output $(BENCH)/short.jsonl
	$(BENCH_PYTHON) -m benchmarks.report $(BENCH)/short.jsonl --print machine,throughput-fp32,accuracy-fp32,refusals

# Everything: hours. It goes on where it was stopped.
bench-all: .bench/all.stamp
	$(BENCH_PYTHON) -m benchmarks.compare $(BENCH_FOLDERS) --dtypes fp32,bf16,int8 \
	  --modes throughput,cold,cold-empty,latency --output $(BENCH)/all.jsonl
	$(BENCH_PYTHON) -m benchmarks.report $(BENCH)/all.jsonl

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
	rm -rf .venv .venv-gpu .venv-parity .bench

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

.bench/aot.stamp: pyproject.toml benchmarks/environments.py
	$(PYTHON) -m benchmarks.environments $(BENCH)/environments --only accelerators
	@touch $@

.venv-gpu/stamp: pyproject.toml
	$(PYTHON) -m venv .venv-gpu
	.venv-gpu/bin/python -m pip install --quiet --disable-pip-version-check -e '.[gpu,test]'
	@touch $@

.bench/short.stamp: pyproject.toml benchmarks/environments.py benchmarks/models.py
	$(PYTHON) -m benchmarks.environments $(BENCH)/environments --only jaxcls,torch
	$(BENCH)/environments/torch/bin/python -m benchmarks.models $(BENCH)/models --only minilm
	@touch $@

.bench/all.stamp: pyproject.toml benchmarks/environments.py benchmarks/models.py
	$(PYTHON) -m benchmarks.environments $(BENCH)/environments
	$(BENCH)/environments/torch/bin/python -m benchmarks.models $(BENCH)/models
	@touch $@
