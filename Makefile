# make demo: installs what it needs and runs the whole job on the embedded tasks.
# make test: installs what it needs and passes the tests.
# make docs: builds the documentation site into site/; any warning is an error.
# Everything is installed into .venv (and, where uv is missing, uv itself into .uv).

PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2])' 2>/dev/null && { echo $$p; break; }; done)
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)

# uv does not read pip's configuration: a configured folder of wheels, index and certificate are
# taken along.
FIND_LINKS := $(or $(UV_FIND_LINKS),$(PIP_FIND_LINKS),$(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null))
INDEX := $(or $(UV_DEFAULT_INDEX),$(PIP_INDEX_URL),$(shell $(PYTHON) -m pip config get global.index-url 2>/dev/null))
CERTIFICATE := $(or $(SSL_CERT_FILE),$(PIP_CERT),$(shell $(PYTHON) -m pip config get global.cert 2>/dev/null))
ifneq ($(CERTIFICATE),)
export SSL_CERT_FILE := $(CERTIFICATE)
endif
ifneq ($(FIND_LINKS),)
export UV_FIND_LINKS := $(FIND_LINKS)
endif
ifneq ($(INDEX),)
export UV_DEFAULT_INDEX := $(INDEX)
endif
# Compiled once: commands and tests start processes that import torch, which else takes 20 s each
# where Python may not write compiled files itself.
export UV_COMPILE_BYTECODE := 1
export UV_SYSTEM_CERTS := 1
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: demo test lint docs install clean

demo: install
	.venv/bin/gradts-select demo --output_dir gradts-demo

test: install
	OMP_NUM_THREADS=1 .venv/bin/pytest -n 2 --dist loadfile -m "not slow and not gpu"

lint: install
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/python tools/house.py --check

docs: $(UV)
	@$(UV) sync --quiet --inexact --python $(PYTHON) --group docs
	.venv/bin/python docs/make_reference.py
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --quiet --strict

install: $(UV)
	@# --inexact: plugins that somebody installed beside it stay.
	@$(UV) sync --quiet --inexact --python $(PYTHON)

.uv/bin/uv:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/it"; exit 1; }
	$(PYTHON) -m venv .uv
	.uv/bin/pip install --quiet uv

clean:
	rm -rf .venv .uv gradts-demo site
