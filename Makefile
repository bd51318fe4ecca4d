# Two commands on a fresh machine with Python >= 3.11, make and a C++ compiler: `make demo` and `make test`.
# Each makes its own virtual environment here and installs what it needs.
PYTHON ?= python3
SOURCES := pyproject.toml CMakeLists.txt $(wildcard core/*)

.PHONY: demo test test-all sanitize bench bench-accuracy bench-defaults lint format pictures clean
.DEFAULT_GOAL := help
.PHONY: help
help:
	@echo "make demo      learn handwritten digits, watch it, and keep the model"
	@echo "make test      the default tests, within five minutes"
	@echo "make test-all  the slow ones too"
	@echo "make sanitize  the engine's tests under AddressSanitizer, UBSan and ThreadSanitizer"
	@echo "make bench     speed beside JAX, PyTorch and scikit-learn, under 40 minutes; BENCH=\"--help\" for parts of it"
	@echo "make bench-accuracy  errors beside CatBoost, LightGBM, scikit-learn, RealMLP, three hours; ACCURACY=\"--help\" for parts"
	@echo "make bench-defaults  what each default of auto is worth, over two hours; DEFAULTS=\"--help\" for parts"
	@echo "make lint      ruff, mypy, clang-format"
	@echo "make pictures  draw the README's picture anew"

demo: .venv-demo/installed
	.venv-demo/bin/chainrule demo

test: .venv-test/installed
	.venv-test/bin/python -m pytest

test-all: .venv-test/installed
	.venv-test/bin/python -m pytest -m "slow or not slow"
	$(MAKE) bench-accuracy ACCURACY=--quick

# Python itself is not built with the sanitizers: their library has to be there before it, and leaks are its own affair. What
# limits the memory of a process, or counts allocations, cannot run beside them.
sanitize: .venv-sanitize/installed .venv-test/installed
	LD_PRELOAD="$$($${CXX:-g++} -print-file-name=libasan.so) $$($${CXX:-g++} -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
	.venv-sanitize/bin/python -m pytest tests/test_engines.py tests/test_gradients.py \
	-k "not system_does_not_give and not allocates and not core_alone and not ctrl_c and not where_it_lies"
	.venv-test/bin/python -m pytest tests/test_engines.py -m slow -k race

bench: .venv-bench/installed
	.venv-bench/bin/python benchmarks/bench.py $(BENCH)

bench-accuracy: .venv-accuracy/installed
	.venv-accuracy/bin/python benchmarks/accuracy.py $(ACCURACY)

bench-defaults: .venv-bench/installed
	.venv-bench/bin/python benchmarks/defaults.py $(DEFAULTS)

lint: .venv-dev/installed
	.venv-dev/bin/ruff check .
	.venv-dev/bin/ruff format --check .
	.venv-dev/bin/mypy
	.venv-dev/bin/clang-format --dry-run --Werror core/*.cpp core/*.hpp

format: .venv-dev/installed
	.venv-dev/bin/ruff check --fix .
	.venv-dev/bin/ruff format .
	.venv-dev/bin/clang-format -i core/*.cpp core/*.hpp

pictures: .venv-test/installed
	.venv-test/bin/python docs/pictures.py

clean:
	rm -rf build .venv-demo .venv-test .venv-sanitize .venv-bench .venv-accuracy .venv-dev

# The demo has the package as a user would; the tests an editable one, with the imitated vector widths built in.
.venv-demo/installed: EXTRA := .
.venv-test/installed: EXTRA := -e .[test] -C cmake.define.CHAINRULE_TEST_WIDTHS=ON
.venv-sanitize/installed: EXTRA := -e .[test] -C build-dir=build/sanitize -C cmake.define.CHAINRULE_SANITIZE=ON
.venv-bench/installed: EXTRA := .[bench]
.venv-accuracy/installed: EXTRA := .[accuracy]
.venv-dev/installed: EXTRA := -e .[dev]
.venv-demo/installed .venv-accuracy/installed .venv-bench/installed: $(wildcard src/chainrule/*.py src/chainrule/*/*.py)

.venv-%/installed: $(SOURCES)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "chainrule needs Python 3.11 or later; this is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.12 ...")'
	@command -v $${CXX:-c++} >/dev/null || command -v g++ >/dev/null || echo "No C++ compiler found: the slow textbook engine will be installed (Debian: apt install g++)"
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check $(EXTRA)
	@touch $@
