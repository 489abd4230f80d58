# One command for each chore; CI calls the same targets. A bare "make" lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# The release that "millrace version" prints: the last tag, and how far the tree is from it.
RELEASE  = $(patsubst v%,%,$(shell git describe --tags --always --dirty 2>/dev/null))
FUZZTIME ?= 30s
BENCH    ?=
SOAK     ?= 20m
FAULTS   ?=
# How long the tests of a package may take: some minutes are usual, and a busy machine needs several times as much.
PATIENCE ?= 30m

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build the static binary, bin/millrace
	CGO_ENABLED=0 go build -trimpath -ldflags '-X main.release=$(RELEASE)' -o bin/millrace ./cmd/millrace

.PHONY: run
run: build ## build, and start the demo: a proxy with its own origins
	bin/millrace demo

.PHONY: test
test: ## run all tests
	go test -timeout $(PATIENCE) ./...

.PHONY: race
race: ## run the tests under the race detector (needs a C compiler), but for those that only watch the binary
	CGO_ENABLED=1 go test -timeout $(PATIENCE) -race $$(go list ./... | grep -v -e /internal/e2e -e /internal/faults)

.PHONY: lint
lint: bin/gofumpt bin/staticcheck ## check formatting (gofumpt), go vet, staticcheck
	@unformatted=$$(bin/gofumpt -l .); if [ -n "$$unformatted" ]; then \
		printf 'not formatted, run "make fmt":\n%s\n' "$$unformatted"; exit 1; fi
	go vet ./...
	bin/staticcheck ./...

.PHONY: fmt
fmt: bin/gofumpt ## format all Go files
	bin/gofumpt -w .

# Go fuzzes one target of one package at a time, so that they are looked for in the sources.
.PHONY: fuzz
fuzz: ## fuzz every target of the tree, FUZZTIME=30s each
	@targets=$$(grep -rhoHE '^func Fuzz[A-Za-z0-9_]*' --include='*_test.go' --exclude-dir=.git . | sort -u); \
	failed=; \
	while IFS=: read -r file func; do \
		package=$$(dirname "$$file"); func=$${func#func }; \
		echo "fuzz: $$package $$func for $(FUZZTIME)"; \
		go test -run '^$$' -fuzz "^$$func\$$" -fuzztime '$(FUZZTIME)' -fuzzminimizetime 5s "$$package" || failed+=" $$package:$$func"; \
	done <<<"$$targets"; \
	[ -z "$$failed" ] || { echo "fuzz: failed:$$failed" >&2; exit 1; }

.PHONY: soak
soak: ## good and hostile load under the race detector for SOAK=20m; then everything is as it was (needs a C compiler)
	CGO_ENABLED=1 MILLRACE_SOAK=$(SOAK) go test -race -run '^TestSoak$$' -count 1 -timeout 0 -v ./loop

.PHONY: faults
faults: build ## let everything around the proxy go wrong, and print what its clients saw; FAULTS='-only disk'
	go run ./internal/faults $(FAULTS)

.PHONY: demos
demos: ## tunnels between real peers at their whole sizes: PostgreSQL, Redis, SMTP, netcat, PHP-FPM, WebSockets (minutes)
	MILLRACE_E2E_FULL=1 go test ./internal/e2e -count 1 -timeout 30m -v \
		-run '^Test(Postgres|Redis|TheServerSpeaksFirst|HalfClose|FastCGI|WebSocket.*|SockListener)$$'

.PHONY: bench
bench: build limits ## compare with nginx, haproxy, lighttpd; options in BENCH='-quick' (-h lists them)
	go run ./bench/harness $(BENCH)

.PHONY: conformance
conformance: build ## hold millrace and other proxies against the RFCs, and write docs/conformance.md
	go run ./internal/conformance/compare -millrace bin/millrace -o docs/conformance.md

.PHONY: profile
profile: ## make the profile anew that the compiler optimises by, cmd/millrace/default.pgo
	go test ./loop -run '^TestARequestAllocatesNothing$$' -count 3 -o bin/loop.test -cpuprofile cmd/millrace/default.pgo

.PHONY: limits
limits: bin/limit_copy bin/limit_splice bin/limit_spread bin/origin ## build the bench's own programs: three that only move bytes, and its origin

.PHONY: deps
deps: ## install what tests and bench need and is not there yet (Debian packages, Go modules)
	tools/deps.sh
	go mod download
	cd tools && go mod download

.PHONY: clean
clean: ## remove what was built
	rm -rf bin

bin/gofumpt bin/staticcheck: tools/go.mod tools/go.sum
	CGO_ENABLED=0 go build -C tools -o ../bin/ tool
	@touch bin/gofumpt bin/staticcheck

bin/origin: bench/origin/origin.c
	@mkdir -p bin
	$(CC) -O2 -Wall -Wextra -o $@ $<

bin/limit_%: bench/limit/limit_%.c
	@mkdir -p bin
	$(CC) -O2 -Wall -Wextra -o $@ $<
