# Every target makes the virtual environment it needs: `make demo` and `make test` work first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Without an NVIDIA driver torch is a CPU build, not gigabytes of CUDA: one that pip finds on this
# machine, else the one of CPU_INDEX, if that answers within three seconds, else what pip chooses.
# `make dev TORCH_INDEX=URL` takes torch from there, whatever the machine.
TORCH_INDEX ?=
CPU_INDEX := https://download.pytorch.org/whl/cpu
TORCH := $(BIN)/pip install --quiet --no-deps -c constraints.txt torch
# The alarm ends a name look-up too, which a time-out of urlopen does not.
ANSWERS := $(BIN)/python -c \
	'import signal, urllib.request as web; signal.alarm(3); web.urlopen("$(CPU_INDEX)/torch/")'

BENCH_SIZE ?= 2b
BENCH_OUT ?= bench/results/engine-$(BENCH_SIZE)-cpu.json

.PHONY: dev demo test lint wheel bench bench-speed bench-latency bench-serving bench-cache bench-retrieval bench-quality builtin stress clean

dev: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
ifdef TORCH_INDEX
	$(TORCH) --index-url $(TORCH_INDEX)
else
	command -v nvidia-smi >/dev/null || $(TORCH) --no-index 2>/dev/null || \
		! $(ANSWERS) 2>/dev/null || $(TORCH) --index-url $(CPU_INDEX)
endif
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

.typecheck/minireranker:
	mkdir -p .typecheck
	ln -sfn .. .typecheck/minireranker

demo: dev
	$(BIN)/minireranker demo --out demo

# A process a core, one thread each. Waiting OpenMP threads sleep instead of spinning: on a machine
# that is busy with something else the tests took twenty times as long without it.
test: dev
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/pytest -n auto --maxprocesses 8 --dist loadfile

lint: dev .typecheck/minireranker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

wheel: dev
	$(BIN)/python -m build --wheel

bench: dev
	$(BIN)/minireranker bench engine --size $(BENCH_SIZE) --out $(BENCH_OUT)

# The pass in eight bits, and how it grows; about a quarter of an hour on two cores.
bench-speed: dev
	$(BIN)/minireranker bench precision --size 2b --repeats 5 \
		--out bench/results/precision-2b-cpu.json
	$(BIN)/minireranker bench scaling --size 2b --repeats 1 \
		--out bench/results/scaling-2b-cpu.json --png bench/results/scaling-2b-cpu.png

# Beside every peer that `minireranker bench peers install` has put here; photographs take ten
# minutes on two cores, videos three quarters of an hour.
bench-latency: dev
	$(BIN)/minireranker bench latency --workload coco-t2i --size 2b \
		--out bench/results/latency-coco-t2i-2b-cpu.json
	$(BIN)/minireranker bench latency --workload msrvtt --set frames=24 --size 2b --documents 3 --queries 1 --rounds 2 \
		--out bench/results/latency-msrvtt-2b-cpu.json

# 64 clients for five minutes at twice what the server can do.
bench-serving: dev
	$(BIN)/minireranker bench serving --queue-seconds 0.6 --out bench/results/serving-builtin-cpu.json

# Codecs on 2B with a few queries, on the small models with many; reads from the disk that `.` is on.
bench-cache: dev
	$(BIN)/minireranker bench cache --out bench/results/cache-2b-cpu.json
	$(BIN)/minireranker bench codecs --float32 --out bench/results/codecs-tiny-cpu.json
	$(BIN)/minireranker bench codecs --model builtin --scenes --float32 \
		--out bench/results/codecs-builtin-cpu.json
	$(BIN)/minireranker bench codecs --size 2b --queries 4 --out bench/results/codecs-2b-cpu.json

# MetaEmbed's index takes 13 GB of disk, in FOLDER, while it runs.
bench-retrieval: dev
	$(BIN)/minireranker bench embedder --size 2b --documents 4 --out bench/results/embedder-2b-cpu.json
	$(BIN)/minireranker bench maxsim --repeats 9 --out bench/results/maxsim-cpu.json
	$(BIN)/minireranker bench metaembed --folder $(or $(FOLDER),.) --repeats 2 \
		--out bench/results/metaembed-2048-int8-cpu.json

# 50 000 pictures, drawn first (200 MB) and read in six ways. Products this small gain little from a
# second thread, and the other core is free meanwhile.
bench-quality: dev
	test -d build/scenes || $(BIN)/minireranker scenes --out build/scenes
	OMP_NUM_THREADS=1 $(BIN)/minireranker bench quality build/scenes -m builtin -e builtin -p dense -p mini --ablate mini \
		--out bench/results/quality-builtin-cpu.json --png bench/results/quality-builtin-cpu.png

# The built-in models from nothing, about two hours; goes on where it was stopped.
BUILTIN ?= build/builtin
builtin: dev
	$(BIN)/minireranker train builtin --out $(BUILTIN)
	mkdir -p models/builtin/reranker/profiles models/builtin/embedder
	cp $(BUILTIN)/ranking/model/*.* models/builtin/reranker/
	cp $(BUILTIN)/ranking/model/profiles/*.toml models/builtin/reranker/profiles/
	cp $(BUILTIN)/embedding/model/*.* models/builtin/embedder/

# 200 rounds of kill -9 among four writers and two readers, 10 000 operations of two processes, then
# 500 rounds of kill -9 in a vector index.
stress: dev
	OMP_WAIT_POLICY=passive $(BIN)/python -P tests/cache/crash_rounds.py --rounds 200
	OMP_WAIT_POLICY=passive $(BIN)/python -P tests/cache/mixed_operations.py
	OMP_WAIT_POLICY=passive $(BIN)/python -P tests/retrieval/killed_appends.py --rounds 500

clean:
	rm -rf build dist .typecheck demo *.egg-info .mypy_cache .ruff_cache .pytest_cache
