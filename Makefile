# Every target sets up what it needs: `make demo` and `make test` work from a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
FUZZ_SECONDS ?= 600

.PHONY: demo test check coverage properties bench papers soak fuzz docs setup lock wheels test-bridge test-systemd images test-deploy testbed clean

demo: setup
	$(BIN)/segue demo

test: check
	$(BIN)/pytest

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m tools.check_names
	$(BIN)/python -m tools.check_mirror
	$(BIN)/pytest -q tests/tools/containers
	$(BIN)/kubernetes-validate --kubernetes-version 1.32 --strict --quiet $(filter-out %/kustomization.yaml, $(wildcard deploy/kubernetes/base/*.yaml deploy/kubernetes/pair/*.yaml))

coverage: setup
	$(BIN)/coverage erase
	$(BIN)/pytest --cov --cov-report=term

properties: setup
	HYPOTHESIS_PROFILE=random $(BIN)/pytest -m hypothesis

soak: setup
	$(BIN)/python -m benchmarks.soak --minutes 5

bench: setup
	$(BIN)/python -m benchmarks

papers: setup
	$(BIN)/python -m benchmarks.claims
	$(BIN)/python -m benchmarks.spatial_groups --models

docs: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[all,docs]'
	$(BIN)/segue schema bus > docs/asyncapi.json
	$(BIN)/sphinx-build --fail-on-warning --keep-going --nitpicky --quiet -b html docs build/site
	@echo "the site is in build/site"

fuzz: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[all,fuzz]'
	PYTHONPATH=. $(BIN)/python tests/fuzz/decoders.py -max_total_time=$(FUZZ_SECONDS)

setup: $(STAMP)

$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Segue needs Python 3.11 or newer; try: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "No venv module; on Debian: apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[all,dev]'
	@touch $@

lock:
	$(PYTHON) -m venv $(VENV) && $(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --upgrade --universal --no-header --no-annotate --all-extras --output-file requirements.lock pyproject.toml
	@sed -i '/^segue/d' requirements.lock

# A folder from which `pip install --no-index --find-links build/wheels 'segue[all]'` installs without a network.
wheels: setup
	$(BIN)/pip wheel --quiet --disable-pip-version-check --constraint requirements.lock --wheel-dir build/wheels '.[all]'
	@rm -rf build/lib build/bdist.*
	@echo "$$(ls build/wheels | wc -l) wheels are in build/wheels"

# Mosquitto alone: two sites of a fleet, their bridge slow, cut and mended under load.
test-bridge: setup
	$(BIN)/python -m benchmarks.bridged_sites --quick

# Root, podman, runc and debootstrap; says why it skips.
test-systemd: wheels
	tools/containers/boot_systemd.sh build/wheels

# Root and podman; each says why it skips.
images: setup
	$(BIN)/python -m tools.containers.build_images

test-deploy testbed: images
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements.lock 'podman-compose>=1.6'
	$(BIN)/python -m tools.containers.$(if $(filter testbed,$@),testbed,try_deployment)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* .segue
