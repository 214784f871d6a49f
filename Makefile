# Two commands do everything: `make demo` and `make test`. Both make the environment if it is not there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
WHOLE := $(VENV)/installed-whole

AUDIT := $(VENV)/audit

.PHONY: install demo test test-all check format docs audit sbom clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[demo,onnx,test]'
	touch $(INSTALLED)

# what only a few need, and only slow tests try: estimates of energy, and Ray
$(WHOLE): $(INSTALLED)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[energy,ray]'
	touch $(WHOLE)

demo: install
	HF_HUB_OFFLINE=1 $(BIN)/nlp-transfer demo

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" --numprocesses 2 --dist worksteal

test-all: $(WHOLE)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# in an environment of their own: what looks at the versions shall not choose them
$(AUDIT)/installed:
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/pip install --quiet 'pip-audit==2.10.1' 'cyclonedx-bom==7.5.0'
	touch $(AUDIT)/installed

# strict: a package that the database does not know is a failure, not a success
audit: $(AUDIT)/installed
	@$(AUDIT)/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off --requirement constraints.txt || { \
		echo "make audit: failed. Either an advisory is named above, or the database of PyPI could not be asked, and then \
	nothing is known of the pins." >&2; exit 1; }

sbom: $(AUDIT)/installed
	mkdir -p build
	$(AUDIT)/bin/cyclonedx-py requirements --pyproject pyproject.toml --mc-type library --output-reproducible \
		--output-format JSON --output-file build/sbom.json constraints.txt

docs: install
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache
