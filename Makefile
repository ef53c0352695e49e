# Portico's chores. "make help" lists them. Go, make, bash and git are enough for
# everything but the GraphiQL bundle (Node.js) and the race detector (a C compiler).

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --warn-undefined-variables --no-builtin-rules
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# With PORTICO_REQUIRE_ALL=1 nothing may be left out for want of a tool: CI sets it.
PORTICO_REQUIRE_ALL ?= 0

# grpcnotrace leaves grpc-go's debugging pages out, which we do not serve. They are the only user of text/template, and with
# that the linker must keep every exported method of every type: 10 MB of the program.
TAGS := grpcnotrace

# What to test, measure and fuzz, for how long and how often.
PKG ?= ./...
RUN ?= .
COUNT ?= 10
BENCH ?= .
FUZZTIME ?= 30s
# Flags of the benchmarks against peers; see test/bench/README.md.
BENCHFLAGS ?=
# Flags of the scenarios of failure; see test/chaos/README.md.
CHAOSFLAGS ?=
# Two benchmark files for bench-diff, and where bench-go writes.
OUT := .out
BENCHFILE ?= $(OUT)/bench.txt
BASE ?= $(OUT)/base.txt
HEAD ?= $(OUT)/bench.txt
# What breaking compares the protos with.
AGAINST ?= .git\#branch=main,subdir=protos

# Tools, pinned in modules of their own so that they cannot move our versions.
TOOL := go tool -modfile=test/tools/go.mod
BUF := go tool -modfile=test/tools/buf/go.mod buf
GOLANGCI := .bin/golangci-lint
# Our protos, without third_party.
OUR_PROTOS := $(wildcard protos/portico protos/shop)

# Go modules beside the root one, tools aside.
SUBMODULES := $(filter-out test/tools test/tools/%,$(patsubst %/go.mod,%,$(wildcard test/*/go.mod test/*/*/go.mod)))

# What "make generate" runs, in this order. To add a generator, define a target
# generate-NAME and name it here.
GENERATORS := generate-protos
SCHEMAGEN := bff/config/internal/schemagen
ifneq ($(wildcard $(SCHEMAGEN)/main.go),)
GENERATORS += generate-config-schema
endif
GRAPHIQL := bff/web/graphiql
ifneq ($(wildcard $(GRAPHIQL)/package-lock.json),)
GENERATORS += generate-graphiql
endif
GENERATORS += generate-tidy generate-bench

.PHONY: help
help: ## Say what there is
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: all
all: lint test ## Lint and test

.PHONY: demo
demo: ## Run the whole demo on this machine
	go run ./cmd/demo

.PHONY: build
build: ## Build the programs into .bin/
	go build -trimpath -tags=$(TAGS) -o .bin/ ./cmd/...

# gotest FLAGS: go test with the race detector where it can be built. Building
# runtime/cgo proves a C compiler and its headers in one go.
define gotest
@if CGO_ENABLED=1 go build -race runtime/cgo 2>/dev/null; then \
	export CGO_ENABLED=1; race=-race; \
elif [ "$(PORTICO_REQUIRE_ALL)" = 1 ]; then \
	echo "no C compiler: the race detector is required with PORTICO_REQUIRE_ALL=1" >&2; exit 1; \
else \
	echo "no C compiler: running without the race detector" >&2; \
	export CGO_ENABLED=0; race=; \
fi; \
set -x; go test $$race -shuffle=on $(1) -run '$(RUN)' $(PKG)
endef

.PHONY: test
test: ## Run the fast tests (PKG=./bff/... RUN=Name narrow them)
	$(call gotest,-short -timeout 10m)

.PHONY: test-slow
test-slow: ## Run all tests, the slow ones too
	$(call gotest,-timeout 30m)

.PHONY: cover
cover: ## Measure test coverage: .out/cover.html
	@mkdir -p $(OUT)
	go test -short -timeout 10m -coverpkg=./... -coverprofile=$(OUT)/cover.out $(PKG)
	go tool cover -html=$(OUT)/cover.out -o $(OUT)/cover.html
	@go tool cover -func=$(OUT)/cover.out | tail -n 1

.PHONY: conformance
conformance: ## Run Protobuf's conformance suite (needs npm)
	test/conformance/run

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (30s) each
	@go test -list '^Fuzz' $(PKG) \
	| awk '/^Fuzz/ {names = names " " $$1} /^ok/ {n = split(names, f, " "); for (i = 1; i <= n; i++) print $$2, f[i]} !/^Fuzz/ {names = ""}' \
	| { failed=; while read -r pkg name; do \
		echo "== $$pkg $$name"; \
		go test -run '^$$' -fuzz "^$$name$$" -fuzztime '$(FUZZTIME)' "$$pkg" </dev/null || failed="$$failed $$name"; \
	done; [ -z "$$failed" ] || { echo "failed:$$failed" >&2; exit 1; }; }

.PHONY: bench
bench: ## Measure against the floor and peers into test/bench/results (BENCHFLAGS="-suite rest -strict")
	go build -trimpath -tags=$(TAGS) -o .bin/ ./cmd/bff
	cd test/bench && go build -trimpath -o '$(CURDIR)/.bin/bench' .
	go test -c -trimpath -o .bin/bench-mesh/ ./mesh ./mesh/internal/authz
	cd test/bench && go build -trimpath -ldflags='-s -w' -o '$(CURDIR)/.bin/bench-mesh/' ./mesh/client/mesh ./mesh/client/bare
	.bin/bench -portico .bin/bff -programs .bin/bench-mesh -out test/bench/results $(BENCHFLAGS)

.PHONY: chaos
chaos: ## Run the mesh's scenarios of failure: processes, sockets, marks (RUN=hedge picks some)
	go build -trimpath -o .bin/ ./test/chaos
	.bin/chaos -run '$(RUN)' -require-all=$(PORTICO_REQUIRE_ALL) -out test/chaos/results $(CHAOSFLAGS)

.PHONY: footprint
footprint: ## Say what the smallest client of the mesh links, beside one of bare gRPC
	@echo "mesh needs directly: $$(go list -f '{{join .Imports "\n"}}' ./mesh ./mesh/internal/... | xargs go list -f '{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}' | sort -u | xargs)"
	@cd test/bench && for client in bare mesh; do \
		go build -trimpath -ldflags='-s -w' -o '$(CURDIR)/.bin/bench-mesh/' "./mesh/client/$$client"; \
		echo "$$client: $$(go list -deps "./mesh/client/$$client" | wc -l) packages, $$(wc -c <"$(CURDIR)/.bin/bench-mesh/$$client") bytes"; \
	done

.PHONY: bench-go
bench-go: ## Run the packages' own benchmarks COUNT (10) times into .out/bench.txt
	@mkdir -p $(dir $(BENCHFILE))
	go test -run '^$$' -bench '$(BENCH)' -benchmem -count=$(COUNT) -timeout 2h $(PKG) | tee $(BENCHFILE)

.PHONY: bench-diff
bench-diff: ## Compare two benchmark files: BASE=.out/base.txt HEAD=.out/bench.txt
	$(TOOL) benchstat $(BASE) $(HEAD)

.PHONY: lint
lint: $(GOLANGCI) ## Check Go and protos
	$(GOLANGCI) run
	@for dir in $(SUBMODULES); do (set -x; cd "$$dir"; '$(CURDIR)/$(GOLANGCI)' run --config '$(CURDIR)/.golangci.yml'); done
	$(BUF) lint protos
	$(BUF) format protos -d --exit-code $(addprefix --path ,$(OUR_PROTOS))

.PHONY: fmt
fmt: $(GOLANGCI) ## Format Go and protos
	$(GOLANGCI) fmt
	$(BUF) format protos -w $(addprefix --path ,$(OUR_PROTOS))

.PHONY: breaking
breaking: ## Look for breaking changes of the protos, AGAINST branch main
	$(BUF) breaking protos --against '$(AGAINST)'

.PHONY: vuln
vuln: ## Look for known vulnerabilities that we call
	$(TOOL) govulncheck ./...

.PHONY: generate
generate: ## Generate everything that is generated and checked in
	@for generator in $(GENERATORS); do $(MAKE) --no-print-directory "$$generator"; done

.PHONY: generate-protos
generate-protos: # Go code, and the descriptors of the demo with their comments
	$(BUF) generate --template protos/buf.gen.yaml
	$(BUF) build protos --path protos/shop --as-file-descriptor-set -o protos/gen/shop.binpb

.PHONY: generate-config-schema
generate-config-schema: # the JSON Schema of the config file; its writer embeds the last one
	@mkdir -p $(OUT)
	go run ./$(SCHEMAGEN) >$(OUT)/schema.json
	mv $(OUT)/schema.json bff/config/schema.json

.PHONY: generate-graphiql
generate-graphiql: # the bundle that the web door serves
	@if command -v npm >/dev/null; then \
		set -x; cd $(GRAPHIQL); npm ci --no-audit --no-fund; npm run build; \
	elif [ "$(PORTICO_REQUIRE_ALL)" = 1 ]; then \
		echo "no npm: Node.js is required with PORTICO_REQUIRE_ALL=1" >&2; exit 1; \
	else \
		echo "no npm: leaving the GraphiQL bundle as it is" >&2; \
	fi

.PHONY: generate-tidy
generate-tidy: # go.mod and go.sum
	go mod tidy

.PHONY: generate-bench
generate-bench: # the service that the benchmarks call
	$(BUF) generate --config test/bench/buf.yaml --template test/bench/buf.gen.yaml
	$(BUF) build test/bench/proto --config test/bench/buf.yaml --as-file-descriptor-set -o test/bench/gen/bench.binpb
	cd test/bench && go mod tidy

# snapshot: the tree object of all files as they are now, taken through an index
# of its own, so that uncommitted work neither matters nor is touched.
snapshot = GIT_INDEX_FILE='$(CURDIR)/$(OUT)/index' git add -A . && GIT_INDEX_FILE='$(CURDIR)/$(OUT)/index' git write-tree

.PHONY: checkgenerate
checkgenerate: ## Fail if generating changes anything
	@mkdir -p $(OUT)
	@before=$$($(snapshot)); \
	$(MAKE) --no-print-directory generate; \
	after=$$($(snapshot)); \
	if [ "$$before" != "$$after" ]; then \
		git --no-pager diff --stat "$$before" "$$after" >&2; \
		echo "generated files are not up to date: run make generate and commit" >&2; exit 1; \
	fi

# The linter's build takes minutes when cold, so it is built once and kept.
$(GOLANGCI): test/tools/lint/go.mod test/tools/lint/go.sum
	cd test/tools/lint && go build -o '$(CURDIR)/$@' github.com/golangci/golangci-lint/v2/cmd/golangci-lint
