# Every target installs what it needs first. Nothing outside this folder is read or changed, except pip's cache.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# More for pip, such as an index that has a CPU build of torch.
PIP_ARGS ?=
EXTRAS := ort,openvino,report,video,postgresql,worker,parquet,trt-rtx,dev

# What a shell may have set for other projects must not leak into this one.
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP VIRTUAL_ENV LATENCY_DB_URL
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: install demo demo-search test test-slow build-check lint bench bench-camvid gpu-check docs clean help

help:
	@echo 'make install    .venv with everything that builds on any machine'
	@echo 'make demo       profile this machine, search, train, export and measure two networks; see demo/report.html'
	@echo 'make demo-search'
	@echo '                search two networks on drawn streets in two minutes; see demo-search/report.html'
	@echo 'make test       the tests, in about ten minutes'
	@echo 'make test-slow  those that take longer than ten seconds each'
	@echo 'make build-check'
	@echo '                TensorRT-RTX builds every operator of the space and ten networks; needs no GPU'
	@echo 'make lint       ruff, mypy, import-linter, generated docs'
	@echo 'make bench      the benchmarks in benchmarks/'
	@echo 'make bench-camvid CAMVID=DIR'
	@echo '                searches and trainings on CamVid'
	@echo 'make gpu-check  what only a CUDA device can show; exits 3 where there is none'
	@echo 'make docs       write docs/cli.md, the tables and the picture of the lattice anew'
	@echo 'make clean      remove .venv, demo/ and caches'

install: $(STAMP)

$(STAMP): setup.cfg setup.py constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is not installed; Python 3.11 or later is needed (make PYTHON=/path/to/python3)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $$($(PYTHON) -V) is too old; Python 3.11 or later is needed (make PYTHON=/path/to/python3)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[$(EXTRAS)]' --constraint constraints.txt $(PIP_ARGS)
	@touch $@

# The whole way, each step a command that can be given by hand. Run it again after a stop, and it goes on.
DEMO_SPACE := --space-setting layers=6 --space-setting chis=[4,8] --space-setting stem_widths=[8,16,32] \
  --space-setting head_chi=4 --space-setting num_classes=10
DEMO_ON := --device this-machine --backend ort --image-size 256x512
demo: $(STAMP)
	mkdir -p demo
	@# A search goes by latencies as they were when it began: what was measured is not measured again.
	[ -f demo/search/config.toml ] || $(BIN)/latency-db --db demo/latency.db profile $(DEMO_ON) $(DEMO_SPACE) --time-budget 75s
	[ -f demo/search/config.toml ] || $(BIN)/latency-db --db demo/latency.db validate $(DEMO_ON) $(DEMO_SPACE) --networks 20 --time-budget 100s --report demo/validation
	$(BIN)/searcher --db demo/latency.db run --device this-machine --config examples/demo.toml --out demo/search --resume
	$(BIN)/trainer train demo/search/student.json --teacher demo/search/teacher.json --config examples/demo-train.toml --out demo/training --resume
	$(BIN)/trainer eval demo/training --dataset synthetic
	$(BIN)/trainer export demo/training --image-size 256x512 --output demo/student.onnx
	$(BIN)/trainer --db demo/latency.db bench demo/training $(DEMO_ON) $(DEMO_SPACE) --time-budget 60s --json > demo/bench.json
	$(BIN)/trainer grid demo/training/teacher demo/training --dataset synthetic --images 4 --out demo/grid.png
	$(BIN)/searcher report demo/search --trained demo/training --seen demo/grid.png --measured demo/bench.json --validated demo/validation --output demo/report.html

# With --resume: run it again after a stop, and it goes on where it was.
demo-search: $(STAMP)
	$(BIN)/searcher --db demo-search.db run --config examples/demo-search.toml --out demo-search --resume

# What measures real time has the machine to itself, after all the rest.
test: $(STAMP)
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m 'not alone and not slow'
	$(BIN)/python -m pytest -q -m 'alone and not slow'

test-slow: $(STAMP)
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m 'slow and not alone'
	$(BIN)/python -m pytest -q -m 'slow and alone'

# Nothing is measured, and what an earlier call has built is not looked at: 1.1 GiB in a folder for the time being.
build-check: $(STAMP)
	folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; XDG_CACHE_HOME=$$folder $(BIN)/latency-db --db $$folder/built.db profile --backend trt --image-size 256x512 --build-only --networks 10 --setting compute_capabilities=8.6,12.0

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate_cli.py --check
	$(BIN)/python docs/generate_tables.py --check
	$(BIN)/python docs/generate_lattice.py --check

# Eight layers of narrow cells behind a narrow stem: what a core of a CPU runs as fast as it runs Fast-SCNN.
CPU_SPACE := --space-setting layers=8 --space-setting chis=[2,4,8] --space-setting stem_widths=[8,16,32] \
  --space-setting head_chi=4

# About two hours, on a machine that does nothing else. Then `make docs` writes the tables anew.
bench: $(STAMP)
	mkdir -p runs
	$(BIN)/python benchmarks/million_measurements.py --output docs/results/million.json
	$(BIN)/python benchmarks/relaxed_latency.py --output docs/results/relaxed_latency.json
	$(BIN)/python benchmarks/search_step.py --output docs/results/search_step.json
	$(BIN)/python benchmarks/protocols.py --output docs/results/protocols.json
	$(BIN)/python benchmarks/observers.py --output docs/results/observers.json
	$(BIN)/latency-db --db runs/profile.db profile --image-size 256x512 --time-budget 14.8m
	$(BIN)/latency-db --db runs/search.db profile --device this-machine --image-size 256x512 --space-setting num_classes=10 --time-budget 4m
	$(BIN)/python benchmarks/search_target.py --db runs/search.db --output docs/results/search_target.json
	$(BIN)/latency-db --db runs/search-cpu.db profile --device this-machine --image-size 512x1024 $(CPU_SPACE) --space-setting num_classes=10 --calibration-networks 12 --time-budget 150s
	$(BIN)/searcher --db runs/search-cpu.db run --device this-machine --image-size 512x1024 $(CPU_SPACE) --target-ms 30 --size 64x128 --crop 64x128 --count 48 --workers 0 --pretrain-epochs 2 --search-epochs 4 --batch-size 2 --out runs/searched-cpu --resume
	cp runs/searched-cpu/student.json docs/results/cpu_student.json
	$(BIN)/python benchmarks/compare_networks.py --also docs/results/cpu_student.json --db runs/compare.db --output docs/results/compare.json --picture docs/images/compare.png
	for target in 30 45; do $(BIN)/searcher --db runs/search.db run --device this-machine --image-size 256x512 --target-ms $$target --size 64x128 --crop 64x128 --count 24 --workers 0 --pretrain-epochs 1 --search-epochs 3 --batch-size 2 --out runs/searched-$$target --resume; done
	$(BIN)/python benchmarks/predicted_latency.py runs/searched-30/student.json runs/searched-45/student.json --image-size 256x512 --minutes 8 --output docs/results/predicted_latency.json
	$(BIN)/python benchmarks/accuracy.py --db runs/accuracy.db --report runs/accuracy --output docs/results/accuracy.json
	mkdir -p docs/images
	cp runs/accuracy/seed-1/validation.png docs/images/validation.png
	$(BIN)/python benchmarks/accuracy.py --db runs/profile.db --stored --output docs/results/accuracy_stored.json
	$(BIN)/python benchmarks/every_backend.py --output docs/results/backends.json
	$(BIN)/python benchmarks/two_targets.py --db runs/two_targets.db --pictures docs/images --output docs/results/two_targets.json
	$(BIN)/python benchmarks/ablation.py --db runs/two_targets.db --output docs/results/ablation.json
	$(BIN)/latency-db --db runs/profile.db profile --image-size 256x512 --time-budget 14.8m --remeasure
	$(BIN)/python benchmarks/spread.py --db runs/profile.db --output docs/results/spread.json
	$(BIN)/python benchmarks/repeatability.py --db runs/profile.db --output docs/results/repeatability.json

# Hours on two cores; each training and search goes on where it was. CAMVID=DIR names the data.
bench-camvid: $(STAMP)
	$(BIN)/python benchmarks/collapse.py --data $(CAMVID) --output docs/results/collapse.json --picture docs/images/collapse.png
	$(BIN)/python benchmarks/train_camvid.py --data $(CAMVID) --teacher benchmarks/camvid_teacher.json --zoo fast-scnn bisenet-x39 docs/results/cpu_student.json --output docs/results/camvid.json --picture docs/images/camvid.png

gpu-check: $(STAMP)
	$(BIN)/python benchmarks/gpu_check.py

docs: $(STAMP)
	$(BIN)/python docs/generate_cli.py
	$(BIN)/python docs/generate_tables.py
	$(BIN)/python docs/generate_lattice.py

clean:
	rm -rf $(VENV) demo demo-search demo-search.db build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
