# Four verbs for users (demo, test, service, help), two for developers (check, format). Everything installs
# into .venv here; a second call finds it there and starts at once.

.DEFAULT_GOAL := help
SHELL := bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check

export PIP_NO_INPUT := 1

.PHONY: help
help: ## This list
	@echo "Tandem: a robot with two brains, in real time. Start with: make demo"
	@echo
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10 | sed 's/^/  make /'

.PHONY: demo
demo: $(STAMP) ## Set up, then run both brains on a simulated arm until Ctrl-C
	@$(BIN)/tandem run sim_panda --demo $(ARGS)

.PHONY: test
test: $(STAMP) ## Set up, then run the tests
	$(BIN)/python -W error -m pytest -n 2 $(ARGS)

.PHONY: check
check: $(STAMP) ## Lint, format, types and the import law
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p tandem.runtime
	$(BIN)/lint-imports --no-cache

.PHONY: format
format: $(STAMP) ## Mend what can be mended by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: setup
setup: $(STAMP) ## Only set up: system packages and .venv

.PHONY: service
service: ## Install the systemd service (as root), for robots described in /etc/tandem
	@[[ -n "$(DESTDIR)" || $$(id -u) -eq 0 ]] || { echo "as root: sudo make service"; exit 1; }
	@install -D -m 644 -t $(DESTDIR)/etc/systemd/system systemd/tandem@.service
	@install -D -m 644 systemd/tandem.sysusers $(DESTDIR)/usr/lib/sysusers.d/tandem.conf
	@install -D -m 644 systemd/tandem.tmpfiles $(DESTDIR)/usr/lib/tmpfiles.d/tandem.conf
	@install -D -m 644 -t $(DESTDIR)/etc/udev/rules.d systemd/60-tandem.rules
	@install -D -m 644 -t $(DESTDIR)/etc/security/limits.d systemd/50-tandem.conf
	@install -d $(DESTDIR)/opt && ln -sfn $(abspath $(VENV)) $(DESTDIR)/opt/tandem
	@[[ -n "$(DESTDIR)" ]] || bash systemd/activate.sh

.PHONY: clean
clean: ## Remove .venv and everything that was built
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# --- set-up ---------------------------------------------------------------------------------------

# Libraries by the file that must load, then the Debian package that brings it.
LIBRARIES := libEGL.so.1=libegl1 libGL.so.1=libgl1 libgthread-2.0.so.0=libglib2.0-0 libusb-1.0.so.0=libusb-1.0-0

$(STAMP): pyproject.toml constraints.txt | system-packages $(BIN)/python
	@$(BIN)/python -c 'import torch' 2>/dev/null || { \
		echo "Setting up $(VENV), only this once. Downloading Python packages: about 1 GB, up to"; \
		echo "4 GB where PyTorch brings its GPU libraries. First PyTorch …"; \
		$(PIP) install -qq torch==$(call pinned,torch); }
	@echo "Installing Tandem and what it needs …"
	@$(PIP) install -qq -c constraints.txt -e '.[dev]'
	@# Its metadata asks for numpy < 2, which its code does not need: hence without its dependencies.
	@$(PIP) install -qq --no-deps openpi-client==$(call pinned,openpi-client)
	@touch $@

pinned = $(shell sed -n 's/^$(1)==//p' constraints.txt)

$(BIN)/python: | system-packages
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Tandem needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)."; \
		echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

.PHONY: system-packages
system-packages:
	@missing=""; \
	known=$$(PATH="$$PATH:/sbin:/usr/sbin" ldconfig -p 2>/dev/null); \
	for pair in $(LIBRARIES); do \
		[[ "$$known" == *"$${pair%%=*}"* ]] || missing+=" $${pair##*=}"; done; \
	echo '#include <stdlib.h>' | gcc -E - >/dev/null 2>&1 || missing+=" gcc libc6-dev"; \
	command -v $(PYTHON) >/dev/null || missing+=" python3"; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing+=" python3-venv"; \
	[[ -z "$$missing" ]] && exit 0; \
	if ! command -v apt-get >/dev/null; then \
		echo "Not found, please install with your system's package manager:$$missing (Debian's names)"; \
		echo "Going on without."; exit 0; fi; \
	sudo=""; [[ $$(id -u) -eq 0 ]] || sudo=sudo; \
	echo "Installing system packages (about 60 MB to download):$$missing"; \
	$$sudo apt-get update -qq && \
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing >/dev/null
