# Palisade: `make run` starts everything, `make test` proves it. `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup setup-tests build run run-split test fmt lint unit doc certs descriptors clean-state

STATE  ?= .palisade
CERTS  ?= certs/dev
CARGO  ?= cargo
PYTHON := $(STATE)/venv/bin/python

# `make run PROFILE=release` serves with the optimised build.
PROFILE ?= dev
OUT     := target/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: ## Install what the build lacks (cmake, protoc, curl)
	@deploy/dev/setup.sh build

setup-tests: setup ## Install what the tests lack besides (Chromium; PostgreSQL, Redis, NATS; clients of Python and npm)
	@deploy/dev/setup.sh test "$(STATE)"

build: setup ## Build both binaries
	$(CARGO) build --locked --profile $(PROFILE) --bin palisade --bin palisade-core

run: build ## Start the edge and the core services; Ctrl-C stops both
	@deploy/dev/run.sh "$(OUT)" "$(STATE)" "$(CERTS)"

run-split: build ## The same past one machine: PostgreSQL, Redis, NATS, two processes of each service
	@deploy/dev/setup.sh servers
	@deploy/dev/split.sh "$(OUT)" "$(STATE)" "$(CERTS)"

certs: build ## Make the development CA and certificates
	@$(OUT)/palisade certs "$(CERTS)"

test: fmt lint unit doc ## Format check, clippy, all tests, documentation

fmt:
	$(CARGO) fmt --all --check

lint: setup
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

unit: setup-tests
	PALISADE_TEST_PYTHON="$(abspath $(PYTHON))" $(CARGO) test --locked --workspace

doc: setup
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps

descriptors: build ## Write policies/descriptors/core.pb from the protos
	$(OUT)/palisade-core descriptors --out policies/descriptors/core.pb

clean-state: ## Forget all local state: databases, keys, saved key sets (certificates stay)
	rm -rf "$(STATE)/core" "$(STATE)/edge"
