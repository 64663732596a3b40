# The commands of this repository in one place: `make` lists them. Each is a plain command below.
PYTHON ?= python
ROOM ?= attacks
.DEFAULT_GOAL := help
.PHONY: help install lint format types test room guides slow errors picture docs wheel ci

help: ## list the commands
	@sed -n 's/^\([a-z]*\): *## */\1	/p' Makefile

install: ## the package, its tests and its tools, editable
	$(PYTHON) -m pip install -e '.[test,dev]'

lint: ## what a review would say first
	ruff check . && ruff format --check .

format: ## put the layout right
	ruff format . && ruff check --fix .

types: ## strict types of the package and of the public names
	mypy && mypy tests/typing/api.py

test: ## the suite, on two cores
	$(PYTHON) -m pytest -q -n 2

room: ## the tests of one room: make room ROOM=attacks
	$(PYTHON) -m pytest -q tests/$(ROOM) tests/test_house.py

guides: ## run every block of every guide
	$(PYTHON) -m pytest -q tests/guides

slow: ## what takes minutes to hours
	$(PYTHON) -m pytest -m slow

errors: ## write docs/errors.md from the code
	$(PYTHON) tests/hardening/errors_page.py

picture: ## draw the README's picture with the packaged module
	PYTHONPATH=recipes $(PYTHON) -m lab.picture recipes/lab/results/defence.png

docs: ## build the site, warnings are errors: pip install -e '.[docs]' first
	mkdocs build --strict --site-dir build/site

wheel: ## what would be published
	$(PYTHON) -m build

ci: ## all that must be green before a change lands
	bash .ci/run
