# make demo    train ltwin_2rnn, ltwin_kernel and a logistic regression on the embedded data set,
#              compare them, and annotate the example photos into a gallery
# make test    run the tests
# make coverage   run the tests and say which lines of tagnet they do not reach
# make style   check style and types
# make check   style, and the tests and doctests of the package as it would be installed
# make check-long   what takes hours, the next four; with -k all of them even where one fails
# make long-tests   kills, damaged files, full disks, clusters, random files, the figures that every
#              graph reaches; prints their counts
# make cluster prepare the twin of NUS-WIDE by one process and by two nodes of a Ray cluster
# make check-versions   some tests under each Python that is here, with the lowest and the newest
#              versions of what the package needs, with TensorFlow's release candidate, and with
#              oneDNN off and on
# make soak    two hours of a sweep, and whether it leaks
# make shipped   train the model that comes with tagnet again
# make golden  store the figures that every graph reaches now on the embedded data set
# make docs    build the documentation into site/, run its notebooks and check its links
# make bench   measure steps, loading, scores and growth; train every architecture, three seeds
# make clean   remove what the others made, but for runs/

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test coverage style check check-long long-tests cluster check-versions soak shipped golden docs \
    bench clean

RUN := $(BIN)/python -m experiments.run --data=demo/data
SHIPPED := tagnet/serving/presets/ltwin_kernel_coco

# Without --max_epochs, ltwin_2rnn goes on for four epochs that bring nothing, and a minute.
demo: $(VENV)/installed
	$(BIN)/python -m data_tools.prepare --source=demo --pools=open --encodings=id,w2v --out=demo/data
	$(RUN) --arch=ltwin_2rnn --max_epochs=8 --out=demo/ltwin_2rnn
	$(RUN) --arch=ltwin_kernel --feed=id --out=demo/ltwin_kernel
	$(RUN) --arch=logistic_both --feed=id --out=demo/logistic_both
	$(BIN)/python -m experiments.report demo
	$(BIN)/python -m experiments.annotate --model=demo/ltwin_kernel \
	    --table=examples/photos/tags.csv --html=demo/gallery.html
	@echo "open demo/gallery.html in a browser; tensorboard --logdir=demo shows the runs"

shipped: $(VENV)/installed
	rm -rf runs/shipped $(SHIPPED)
	$(BIN)/python -m data_tools.prepare --source=demo --pools=open --encodings=id --out=runs/shipped/data
	$(BIN)/python -m experiments.run --arch=ltwin_kernel --feed=id --data=runs/shipped/data \
	    --out=runs/shipped/run
	$(BIN)/python -m experiments.export runs/shipped/run --format=preset --out=$(SHIPPED)

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile

coverage: $(VENV)/installed-dev
	$(BIN)/python -m pytest --cov --numprocesses=2 --dist=loadfile

style: $(VENV)/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

check: style
	rm -rf build
	$(BIN)/python -m pip install --quiet --no-deps --target build/installed .
	PYTHONPATH=build/installed $(BIN)/pytest --numprocesses=2 --dist=loadfile
	cd build/installed && ../../$(BIN)/python -m pytest -c ../../setup.cfg --rootdir . \
	    --doctest-modules tagnet data_tools experiments

check-long: long-tests cluster check-versions soak

long-tests: $(VENV)/installed-dev
	$(BIN)/python -m pytest --large -m large -rA --no-header --numprocesses=2 --dist=loadfile

cluster: $(VENV)/installed-dev
	$(BIN)/python -m benchmarks.speed.cluster

check-versions: $(VENV)/installed-dev
	rm -f runs/versions/*/outcome*.json
	$(BIN)/python -m benchmarks.studies.versions --out=runs/versions

soak: $(VENV)/installed-dev
	rm -rf runs/soak
	$(BIN)/python -m benchmarks.endurance.soak --out=runs/soak --plot=runs/soak.png

golden: $(VENV)/installed-dev
	rm -rf runs/golden
	$(BIN)/python tests/golden.py --out=runs/golden --write

docs: $(VENV)/installed-docs
	$(BIN)/python -m mkdocs build --strict
	@echo "built: open site/index.html in a browser"

bench: $(VENV)/installed-dev
	$(BIN)/python -m benchmarks.speed.startup
	$(BIN)/python -m benchmarks.speed.steps
	$(BIN)/python -m benchmarks.studies.mixed_precision --out=runs/mixed-precision
	$(BIN)/python -m data_tools.prepare --source=twin --pools=open --encodings=id,w2v \
	    --out=runs/twin
	$(BIN)/python -m benchmarks.speed.loading --data=runs/twin
	$(BIN)/python -m benchmarks.speed.scoring --data=runs/twin
	$(BIN)/python -m benchmarks.studies.ways --data runs/twin
	$(BIN)/python -m benchmarks.endurance.growth --plot=runs/growth.png
	$(BIN)/python -m benchmarks.studies.all_models --out=runs/models

clean:
	rm -rf $(VENV) build demo site *.egg-info .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The marks are files in the environment, so that it is made anew where it is
# removed, and brought up to date where the requirements change.
$(VENV)/installed: setup.cfg pyproject.toml | python
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@

.PHONY: python
python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; \
	    sys.exit(0 if (3, 10) <= v < (3, 14) else "tagnet needs Python 3.10 to 3.13; \
	$(PYTHON) is %d.%d; try make PYTHON=python3.12" % v)'
