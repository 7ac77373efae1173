# `make demo` and `make test` make and use .venv/ from the pinned requirements; PYTHON picks the
# interpreter, e.g. make test PYTHON=python3.12, and another one than before makes .venv/ anew.
PYTHON ?= python3
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
BIN := .venv/bin
# What is installed: the package with its export and tools; what `make test` needs besides; all.
READY := .venv/ready-$(VERSION)
TEST := .venv/test-$(VERSION)
ALL := .venv/all-$(VERSION)
DOCS := .venv/docs-$(VERSION)
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist loadfile

.PHONY: demo test test-full test-file browser compilers lint format docs docs-check dist requirements clean

demo: $(READY)
	$(BIN)/meanet demo

# What protects behaviour, in minutes; docs/testing.md says which test belongs where.
test: lint browser
	$(PYTEST) -m 'not full'

# The rest: the paper's networks, TensorFlow, Ray and a TPU's compiler, kills in full length.
test-full: $(ALL) compilers
	$(BIN)/pyright --warnings --pythonpath $(BIN)/python meanet_jax/grid/ray.py tests/grid/test_ray.py
	XLA_FLAGS="$$XLA_FLAGS --xla_backend_optimization_level=1" $(PYTEST) -m full

# make test-file FILE=tests/routing/test_policies.py
test-file: $(TEST)
	$(BIN)/python -m pytest $(FILE)

# Debian's packages that a test needs are installed when they are missing and this user may. Without
# them the test is skipped, so that a machine without Debian can run the others.
# $(call debian,what is there when they are,packages,tests)
debian = $(1) && exit; \
  as_root=; test "$$(id -u)" = 0 || as_root='sudo -n'; \
  { command -v apt-get >/dev/null && $$as_root true 2>/dev/null && \
    echo 'installing $(strip $(2))' && \
    $$as_root apt-get update -qq && \
    $$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y \
      --no-install-recommends $(strip $(2)) >/dev/null; } || \
  echo 'note: not here, and could not be installed: $(strip $(2));' \
    'the tests of $(strip $(3)) are skipped' >&2

# Chromium opens report.html.
browser:
	@$(call debian,command -v chromium >/dev/null && command -v chromedriver >/dev/null,\
	  chromium chromium-driver,report.html in a browser)

# What the programs in examples/ are compiled and run with.
compilers:
	@$(call debian,command -v g++ >/dev/null && command -v kotlinc >/dev/null && \
	  command -v java >/dev/null && test -f /usr/include/nlohmann/json.hpp && \
	  test -f /usr/share/java/json-android.jar,\
	  g++ nlohmann-json3-dev kotlin libandroid-json-org-java default-jre-headless,\
	  the programs in C++ and Kotlin)

lint: $(TEST)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/pyright --warnings --pythonpath $(BIN)/python

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The site, at http://localhost:8000/; docs/testing.md says what it is made of.
docs: docs-check
	$(BIN)/python -m http.server --bind localhost --directory build/site 8000

# Warnings are errors; a link that leads nowhere is one.
docs-check: $(DOCS)
	$(BIN)/python -m website.build build/site

# What is uploaded to a package index, checked.
dist: $(ALL)
	rm -rf dist
	$(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python --out-dir dist
	$(BIN)/twine check --strict dist/*

# Pins for every supported Python, without the hosts that they came from.
COMPILE := $(PYTHON) -m uv pip compile --universal --python-version 3.11 --extra dev --extra export \
  --no-header --no-annotate --no-emit-index-url --no-emit-find-links
EXTRAS := cloud completion k8s link tensorboard
LARGE := docs prepare ray release tpu
requirements:
	$(PYTHON) -m pip install --quiet uv
	$(COMPILE) $(foreach extra,$(EXTRAS) $(LARGE),--extra $(extra)) --upgrade \
	  --output-file requirements-all.txt pyproject.toml
	$(COMPILE) $(foreach extra,$(EXTRAS),--extra $(extra)) --constraint requirements-all.txt \
	  --output-file requirements-test.txt pyproject.toml
	$(COMPILE) --constraint requirements-all.txt --extra docs \
	  --output-file requirements-docs.txt pyproject.toml
	$(COMPILE) --constraint requirements-all.txt --output-file requirements.txt pyproject.toml

# uv installs the same pins several times faster. pip brings it, and does its work where uv cannot:
# uv does not read pip's settings, such as a mirror.
UV := $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
install = { $(PIP) $(shell grep -o '^uv==[^ ;]*' requirements.txt) && $(UV) -r $(1); } || $(PIP) -r $(1)

$(READY): requirements.txt pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is Python $(VERSION); accepted: 3.11 or newer (make PYTHON=python3.11)" >&2; exit 2; }
	$(PYTHON) -m venv --clear .venv
	$(call install,requirements.txt)
	$(PIP) --no-deps --editable .
	touch $@

$(TEST): requirements-test.txt $(READY)
	$(call install,requirements-test.txt)
	touch $@

$(DOCS): requirements-docs.txt $(READY)
	$(call install,requirements-docs.txt)
	touch $@

# With every extra no test is skipped for want of a Python package.
$(ALL): requirements-all.txt $(TEST)
	$(call install,requirements-all.txt)
	touch $@

clean:
	rm -rf .venv runs build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
