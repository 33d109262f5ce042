# make help lists the targets.
SHELL := /bin/bash
GOLANGCI := .tools/golangci-lint-v2.15.0
FUZZTIME ?= 10s
SAM := .tools/sam/bin/sam
CHECKOV := .tools/checkov/bin/checkov

.DEFAULT_GOAL := help
.PHONY: help run dev dead key test check bench bench-vectors fuzz build clean

help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## Serve everything on http://localhost:3000 with embedded storage (PORT, HOST, MODEL, … see the README)
	@$(call need,go)
	@go build -o build/mastra ./infra/local/cmd
	@exec build/mastra

dev: ## Serve, and start again whenever a Go file changes
	@$(call need,go)
	@exec go run ./infra/dev

dead: ## List the queued work that failed too often, or send one piece again (RESEND=id); with QUEUE_URL… a deployed queue's
	@$(call need,go)
	@go run ./infra/dead/cmd $(if $(RESEND),resend '$(RESEND)',list)

key: ## Make an API key (NAME=… RESOURCE=… PERMISSIONS=a,b), list them (LIST=1) or revoke one (REVOKE=id); STACK=… of a deployed stack
	@$(call need,go)
	@go run ./infra/keys/cmd $(if $(STACK),-stack '$(STACK)') $(if $(LIST),list,$(if $(REVOKE),revoke '$(REVOKE)',add -name '$(NAME)' -resource '$(RESOURCE)' -permissions '$(PERMISSIONS)'))

test: $(SAM) ## Every test, with the race detector and the real services they need
	@$(call need,go gcc java javac mvn python3)
	@set -e; trap 'infra/services/services.sh stop' EXIT; env=$$(infra/services/services.sh start); eval "$$env"; \
	  export REQUIRE_SERVICES=1; echo 'go test -race -timeout 15m: all packages, then what needs a queue by itself: beside others its stand-in loses answers'; \
	  go test -race -timeout 15m -skip 'InTheCloud$$' $$(go list ./... | grep -v /queue/sqs$$); \
	  go test -race ./shared/queue/sqs; go test -race -run 'InTheCloud$$' ./shared/engine
	@if command -v node >/dev/null && command -v npm >/dev/null; then infra/client/test.sh; \
	 elif [ -n "$$CI" ]; then echo 'make test: node and npm are missing: the official client was not tested' >&2; exit 1; \
	 else echo 'make test: node and npm are missing: the official client was NOT tested'; fi

check: $(GOLANGCI) ## Format, vet, lint, tidy and the fast tests; run it before each commit
	@$(call need,go git)
	@out=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$out" ] || { echo "gofmt would change:"; echo "$$out"; exit 1; }
	go vet ./...
	$(GOLANGCI) run ./...
	go mod tidy -diff
	go test -short ./...

bench: ## Measure start, memory and requests a second; AGAINST=http://… adds another server and the ratio
	@$(call need,go)
	go run ./infra/bench $(if $(AGAINST),-against '$(AGAINST)') $(BENCHFLAGS)

bench-vectors: ## Measure both vector stores: upserts, queries by selectivity, recall (BENCHFLAGS='-size 20000x1536 -store pgvector')
	@$(call need,go python3)
	@set -e; running=$$(infra/services/services.sh status | grep -c '^postgres runs' || true); env=$$(infra/services/services.sh start postgres); eval "$$env"; \
	  if [ "$$running" = 0 ]; then trap 'infra/services/services.sh stop postgres' EXIT; fi; go run ./infra/bench/vectors $(BENCHFLAGS)

fuzz: ## Run every fuzz target for FUZZTIME
	@$(call need,go)
	@for p in $$(go list ./...); do for f in $$(go test -list '^Fuzz' $$p | grep '^Fuzz' || true); do \
	  echo "$$p $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p || exit 1; done; done

build: zips ## Build the local server as build/mastra and the functions' zips, small and reproducible
	@$(call need,go)
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o build/mastra ./infra/local/cmd

# The functions. arm64 is what template.yaml asks for; ARCH=amd64 runs on this machine.
FUNCTIONS := $(notdir $(patsubst %/main.go,%,$(wildcard functions/*/main.go)))
ARCH ?= $(or $(GOARCH),arm64)
LAMBDA_BUILD = CGO_ENABLED=0 GOOS=linux GOARCH=$(ARCH) go build -tags lambda.norpc -trimpath -buildvcs=false -ldflags '-s -w'

.PHONY: deploy zips sizes sam-validate lambda-local
zips: ## Build the functions' zips as build/lambda/*.zip, reproducibly (ARCH=amd64 for Intel)
	@$(call need,go)
	@mkdir -p build/lambda && go build -o build/pack ./infra/pack
	@for f in $(FUNCTIONS); do $(LAMBDA_BUILD) -o build/lambda/$$f/bootstrap ./functions/$$f && \
	  build/pack build/lambda/$$f/bootstrap build/lambda/$$f.zip || exit 1; done

sizes: zips ## Print each function's binary and zip (arm64), and on this machine its start to the first next call, what that costs and its memory
	@$(call need,go java javac mvn)
	@printf '%-16s %12s %12s\n' function 'binary bytes' 'zip bytes'
	@for f in $(FUNCTIONS); do printf '%-16s %12d %12d\n' $$f $$(wc -c < build/lambda/$$f/bootstrap) $$(wc -c < build/lambda/$$f.zip); done
	@set -e; env=$$(infra/services/services.sh start); eval "$$env"; \
	  REQUIRE_SERVICES=1 go test -run '^$$' -bench BenchmarkFunctions -benchtime 1x ./infra/lambdalocal | grep -E '^Benchmark|FAIL|---'

# sam build calls this for each function of template.yaml. GOARCH is set where they run on this machine.
build-%Function:
	$(LAMBDA_BUILD) -o "$(ARTIFACTS_DIR)/bootstrap" ./functions/$$(echo $* | tr A-Z a-z)

lambda-local: ## Run template.yaml's functions as processes behind an API Gateway front (PORT=3000, PARAMETERS="Auth=off Stage=dev")
	@$(call need,go java javac mvn)
	@set -e; env=$$(infra/services/services.sh start); eval "$$env"; \
	  echo 'the stand-ins for AWS go on running when this ends, with what they hold: infra/services/services.sh stop'; \
	  go build -o build/lambda-local ./infra/lambdalocal/cmd; exec build/lambda-local -port $${PORT:-3000} $(PARAMETERS)

deploy: ## Build and deploy with the parameters that sam deploy --guided saved (ENV=dev for another section of samconfig.toml; FORCE=1 after a secret changed)
	@$(call need,go sam python3)
	@FORCE=$(FORCE) infra/sam/deploy.sh $(ENV)

sam-local: $(SAM) ## Run template.yaml with sam local start-api over the stand-ins (PORT=3000, PARAMETERS="Auth=on"); it needs Docker
	@$(call need,go java javac mvn)
	@set -e; engine=$$(infra/sam/engine.sh start); eval "$$engine"; env=$$(infra/services/services.sh start); eval "$$env"; \
	  echo 'the stand-ins for AWS go on running when this ends, with what they hold: infra/services/services.sh stop, infra/sam/engine.sh stop'; \
	  go build -o build/sam-local ./infra/sam/local; exec build/sam-local -port $${PORT:-3000} $(PARAMETERS)

test-sam: $(SAM) ## The document's examples through sam build and sam local
	@$(call need,go java javac mvn)
	@set -e; ran=$$(infra/services/services.sh status | grep -c runs || true); \
	  trap 'infra/sam/engine.sh stop; [ $$ran != 0 ] || infra/services/services.sh stop' EXIT; \
	  engine=$$(infra/sam/engine.sh start); eval "$$engine"; env=$$(infra/services/services.sh start); eval "$$env"; \
	  echo 'go test ./infra/sam/local'; SAM_LOCAL=1 REQUIRE_SERVICES=1 go test -count=1 -timeout 10m ./infra/sam/local

sam-validate: $(SAM) $(CHECKOV) ## What linters say of template.yaml: sam validate --lint, cfn-lint, checkov
	@infra/sam/validate.sh

$(SAM):
	@$(call need,python3)
	@echo 'installing the SAM CLI and cfn-lint (once, about a minute)'
	@python3 -m venv .tools/sam && .tools/sam/bin/pip install -q --disable-pip-version-check aws-sam-cli==1.170.0 cfn-lint==1.58.0

$(CHECKOV):
	@$(call need,python3)
	@echo 'installing checkov (once, about a minute)'
	@python3 -m venv .tools/checkov && .tools/checkov/bin/pip install -q --disable-pip-version-check checkov==3.3.30

clean: ## Remove what the build made; .data stays
	rm -rf build .tools

# golangci-lint is built from the module proxy: nothing has to be installed by hand.
$(GOLANGCI):
	@$(call need,go)
	@echo 'building golangci-lint (once, about a minute)'
	@mkdir -p .tools && GOBIN=$(CURDIR)/.tools/bin go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
	@mv .tools/bin/golangci-lint $@

# need names everything that is missing at once, and how to get it.
define need
missing=; for t in $(1); do command -v $$t >/dev/null || missing="$$missing $$t"; done; \
if [ -n "$$missing" ]; then echo "make $@ needs:$$missing" >&2; for t in $$missing; do case $$t in \
  go) echo '  go   1.26 or newer: https://go.dev/dl' >&2;; \
  gcc) echo '  gcc  for the race detector: apt-get install gcc libc6-dev, or Xcode command line tools' >&2;; \
  java|javac) echo '  java 17 or newer, with javac, for DynamoDB Local: apt-get install openjdk-17-jdk-headless, or brew install openjdk@17' >&2;; \
  mvn) echo '  mvn  apt-get install maven, or brew install maven' >&2;; \
  python3) echo '  python3 3.10 or newer with venv, for Postgres and the SAM CLI: apt-get install python3-venv, or brew install python' >&2;; \
  sam) echo '  sam  the SAM CLI: https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/install-sam-cli.html, or pip install aws-sam-cli' >&2;; \
  git) echo '  git  apt-get install git, or Xcode command line tools' >&2;; esac; done; exit 1; fi
endef
