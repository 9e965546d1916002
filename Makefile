# Everything is run from here; `make` alone lists it. A Python 3.11 or 3.12 is all that is needed: PYTHON=... chooses one.
.DEFAULT_GOAL := help
export PYTHON
PY := .venv/bin/python
PY_TRAIN := .venv-train/bin/python
SERVICES := camera_ingest image_classifier aggregation dashboard camera_agent

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/.runs ## Watch the system at work on photos: drawn ones, or those of PHOTOS=folder; SPEED, SEED; DURATION=seconds ends it
	@$(PY) -m deploy.local.demo $(if $(PHOTOS),--photos "$(PHOTOS)") $(if $(DURATION),--duration $(DURATION)) $(if $(SPEED),--speed $(SPEED)) $(if $(SEED),--seed $(SEED))

classify: .venv/.runs ## Predict the photos of PHOTOS=folder into OUT=results.csv; started again, it goes on where it stopped
	@$(PY) -m deploy.local.classify "$(or $(PHOTOS),$(error say which photos: make classify PHOTOS=folder OUT=results.csv))" --out "$(or $(OUT),results.csv)"

up: .venv/.runs ## Start the system in the foreground: ports from HUELLA_PORT (8000), data in HUELLA_DATA (.huella)
	@$(PY) -m deploy.local.up

token: .venv/.runs ## Print a token: ROLE=viewer, operator or admin; DAYS=30
	@$(PY) -m deploy.local.token --role "$(ROLE)" --days $(or $(DAYS),30)

setup: .venv/.tests ## Make .venv with all that runs and tests the system

test: .venv/.tests ## Run every test that this machine can run; ARGS go to pytest
	$(PY) -m pytest $(ARGS)

check: .venv/.tests ## Check style, types and who imports whom
	$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy && .venv/bin/lint-imports

contracts: .venv/.tests ## Write the messages' JSON Schemas and each service's OpenAPI
	$(PY) -m tests.contract.export

compose-up: ## Start the system in containers, making images and secrets first (docs/deploying.md)
	deploy/compose/start

test-containers: .venv/.tests ## Test the stack of containers, where Docker or a stand-in is: many minutes
	TEST_CONTAINERS=1 $(PY) -m pytest tests/containers $(ARGS)

images: .venv/.tests ## Print what the images of containers weigh and hold, once they are built
	@$(PY) -m tests.containers.images

bench: .venv/.tests $(if $(RIVALS),.venv-rivals/.serves) ## Measure speed and cost into docs/performance.md; RIVALS=1, OVERLOAD=1, FULL=1 for more; ARGS
	$(PY) -m tests.benchmarks.run $(ARGS)

profile: .venv/.tests ## Say where each process's time goes; flame graphs in build/profile; ARGS=--gil
	$(PY) -m tests.benchmarks.profile $(ARGS)

bench-batches: .venv/.tests ## Measure what batches cost beside the bare loop, and what they take from cameras; ARGS
	$(PY) -m tests.benchmarks.batches $(ARGS)

bench-latency: .venv/.tests ## Measure the time from a camera's PUT to the status that shows it
	$(PY) -m tests.benchmarks.latency

bench-page: .venv/.tests ## Measure what fifty open pages cost, and the first page with 200 spaces
	$(PY) -m tests.benchmarks.page $(ARGS)

screenshots: .venv/.tests ## Make a picture of every page of the demo into build/screenshots; needs Debian's chromium
	@$(PY) -m tests.browser.screenshots $(ARGS)

bench-agent: .venv/.tests ## Measure what the camera agent costs with 50 sources; ARGS=--during=seconds
	$(PY) -m tests.benchmarks.agent $(ARGS)

train: .venv-train/.trains ## Train a model version: DATA=folder of photos, OUT=folder to write
	$(PY_TRAIN) -m services.image_classifier.training.train "$(DATA)" "$(OUT)" $(ARGS)

model-version: .venv-train/.trains ## Make a model version of a run's CHECKPOINT without training: DATA=folder of photos, OUT=folder to write
	$(PY_TRAIN) -m services.image_classifier.training.export "$(CHECKPOINT)" "$(DATA)" "$(OUT)" $(ARGS)

evaluate: .venv-train/.trains ## Measure a model version: DATA=folder of photos, MODEL=folder; a report in JSON, and a page into OUT=build/evaluation
	@$(PY_TRAIN) -m services.image_classifier.training.evaluate "$(DATA)" "$(MODEL)" --out "$(or $(OUT),build/evaluation)"

model-report: .venv-train/.trains ## Write docs/model.md: REPORT=report.json of make evaluate, CURVE=curve.jsonl of the run; HELD_OUT=report.json of one that left out sources
	$(PY_TRAIN) -m services.image_classifier.training.model_report "$(or $(REPORT),build/evaluation/report.json)" "$(or $(CURVE),docs/model/curve.jsonl)" docs $(if $(HELD_OUT),--held-out "$(HELD_OUT)")

model-speed: .venv-train/.trains ## Measure what each network costs in service, into docs/model/speed.json
	@$(PY_TRAIN) -m services.image_classifier.training.speed --out docs/model/speed.json $(ARGS)

compare: .venv-train/.trains ## Measure networks by short equal runs: DATA=folder of photos, OUT=folder of the runs; into docs/model/compare.json
	$(PY_TRAIN) -m services.image_classifier.training.compare "$(DATA)" "$(OUT)" --figures docs/model/compare.json $(ARGS)

test-training: .venv-train/.trains ## Run the tests that need torch
	$(PY_TRAIN) -m pytest --noconftest $(addprefix services/image_classifier/tests/,test_training.py test_network.py test_packing.py) $(ARGS)

test-protocol: .venv/.tests .venv-protocol/.asks ## Test the Open Inference Protocol with a public client of it
	$(PY) -m pytest tests/protocol $(ARGS)

setup-train: .venv-train/.trains ## Make .venv-train with what training needs (torch)

lock: .venv/.tests ## Pin what the requirements.in files ask for; ARGS=--upgrade takes the newest
	$(LOCK) tests/requirements.in $(ARGS) -o tests/requirements.txt
	for part in deploy/local deploy/compose $(SERVICES:%=services/%); do $(LOCK) $$part/requirements.in -c tests/requirements.txt -o $$part/requirements.txt || exit 1; done
	UV_FIND_LINKS="$${UV_FIND_LINKS-$$PIP_FIND_LINKS}" $(LOCK) services/image_classifier/requirements-train.in -c tests/requirements.txt $(ARGS) -o services/image_classifier/requirements-train.txt
LOCK := $(PY) -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

clean: ## Remove the environments and caches; the data in .huella stays
	rm -rf .venv .venv-train .venv-rivals .venv-protocol .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build

.venv/.runs: deploy/local/requirements.txt
	@deploy/local/setup .venv $< && touch $@

.venv/.tests: tests/requirements.txt
	@deploy/local/setup .venv $< && touch .venv/.runs $@

.venv-train/.trains: services/image_classifier/requirements-train.txt
	@deploy/local/setup .venv-train $< && touch $@

.venv-protocol/.asks: tests/protocol/requirements-protocol.txt
	@deploy/local/setup .venv-protocol $< && touch $@

.venv-rivals/.serves: tests/benchmarks/requirements-rivals.txt
	@deploy/local/setup .venv-rivals $< && touch $@

.PHONY: help demo classify up token setup test check contracts bench profile bench-batches bench-latency bench-agent bench-page screenshots train model-version evaluate model-report model-speed compare test-training test-protocol setup-train compose-up test-containers images lock clean
