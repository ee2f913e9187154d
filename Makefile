# Ashlar. `make help` lists the targets; each prints what it does and fails when it fails.

SHELL       := /bin/bash -euo pipefail
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# Symbols stay in the binary (no -s): tracing finds its markers by name.
LDFLAGS     := -X main.version=$(VERSION)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.7.0
BENCHTIME   ?= 1s
BENCHFLAGS  ?=
LANES       := crash corrupt fuzz mutants kernel power faults nemesis sim
PEERS       ?= nbdkit qemu-nbd
FUZZTIME    ?= $(if $(NIGHTLY),10m,10s)
KERNELFLAGS ?=
RDMAFLAGS   ?=
# Packages with files that are built with RDMA only; they are looked at where its headers are.
RDMAPACKAGES := ./rpc/rdma/...

# Power cuts in a row on the same directories.
ROUNDS      ?= 100
# Blows of each kind to a node, and which kinds: a pattern of their names, empty for all.
BLOWS       ?= $(if $(NIGHTLY),20,5)
KINDS       ?=
# MiB that the replicas of a node are given anew.
FILL_MIB    ?= 4096
# Simulated days of the schedulers.
DAYS        ?= 60
# Packages with concurrency of their own that a machine of two cores can run under -race in minutes.
RACE        ?= ./io/... ./rpc/... ./controlplane/... ./dataplane/... ./ebpf/... ./cmd/...

.DEFAULT_GOAL := build
.PHONY: build test race lint demo evidence microbench mutants fuzz bench bench-peers clean help packages crash kernel corrupt power faults nemesis trace sim fill operations control-sim control-load build-rdma rdma

build: ## bin/ashlar: one static binary
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ashlar ./cmd/ashlar
	@echo "build: bin/ashlar $(VERSION), $$(( $$(stat -c %s bin/ashlar) >> 20 )) MiB"

build-rdma: ## bin/ashlar-rdma: the same with RDMA, static with the drivers of all cards; installs what that takes
	@deploy/install.sh packages-rdma.txt
	@LDFLAGS='$(LDFLAGS)' deploy/rdma.sh build -o bin/ashlar-rdma ./cmd/ashlar
	@echo "build-rdma: bin/ashlar-rdma $(VERSION), $$(( $$(stat -c %s bin/ashlar-rdma) >> 20 )) MiB"

# Left out there: what needs faults that only cards in the tests' own process have, and what needs no card.
faked := TestACardThatStops|TestDialHonours|TestCloseOfTheDevice|TestTheDeathOfAPeer|TestMemoryThatTheKernel|TestEveryOperation
faked := $(faked)|TestFewCredits|TestNothingIsLost|TestBadConf|TestMessagesKeep|TestPrivateDataKeeps|TestProofs
faked := $(faked)|TestMessagesThatBreak|TestAPeerWithoutAProof|TestMalformed|TestMachinesDeliver|TestAFrameThatIs|TestAbandoned|TestAFrameWithout|TestMemoryIs
rdma: build-rdma ## RDMA on a soft RoCE card in a virtual machine (qemu): cards, transport, a cluster
	@mkdir -p bin/rdma
	@deploy/rdma.sh test -c -o bin/rdma/ibv.test ./rpc/rdma/ibv
	@deploy/rdma.sh test -c -o bin/rdma/transport.test ./rpc/rdma
	@CGO_ENABLED=0 go test -c -o bin/rdma/cards.test ./perf/cards
	CGO_ENABLED=0 go build -trimpath -o bin/rdma-guest ./cmd/rdma-guest
	@bin/rdma-guest -skip '$(faked)' -program bin/ashlar-rdma \
		-pair TestNodesOfThisMachine,TestClientOfThisMachine $(RDMAFLAGS) \
		bin/rdma/ibv.test bin/rdma/transport.test bin/rdma/cards.test
	@echo "rdma: ok"

packages: ## the tools that tests and demo drive (fio, nbdcopy, qemu-img, ...)
	@deploy/install.sh

test: packages build ## go vet and every test, the tidy test and the end-to-end ones included
	go vet ./...
	go test -timeout 20m ./...
	@echo "test: ok"

race: ## every test that takes -short, under the race detector
	CGO_ENABLED=1 go test -race -short -timeout 20m $(RACE)
	@echo "race: ok"

lint: ## go vet, staticcheck, gofmt, the tidy test
	@out=$$(gofmt -l cmd controlplane dataplane ebpf perf rpc io internal); \
		if [ -n "$$out" ]; then echo "lint: run gofmt -w on:"; echo "$$out"; exit 1; fi
	go vet ./...
	go run $(STATICCHECK) ./...
	@if [ -e /usr/include/rdma/rdma_cma.h ] && [ -e /usr/include/infiniband/verbs.h ]; then \
		set -x; go vet -tags rdma $(RDMAPACKAGES); \
		go run $(STATICCHECK) -tags rdma $(RDMAPACKAGES); \
	fi
	go test -count=1 ./internal/tidy
	@echo "lint: ok"

demo: packages build ## a three-node cluster, a real file system image, a killed node, in two minutes
	@deploy/demo.sh

mutants: ## breaks the durable rooms one line at a time: a named test must notice each
	@go run ./internal/mutants $(MUTANTFLAGS)

fuzz: ## every decoder of what a disk or a peer sends, FUZZTIME each (NIGHTLY=1: 10 minutes)
	@go run ./internal/fuzzall -time $(FUZZTIME)

# How many crash states are tried, and how many must have been.
crash: level = $(if $(NIGHTLY),nightly,full)
crash: least = $(if $(NIGHTLY),1000000,100000)
crash: ## every state that a power cut may leave, recovered and compared (NIGHTLY=1: ten times as many)
	@folder=$$(realpath -m "$${EVIDENCE:-$$(mktemp -d)}"); rm -rf "$$folder/crash"; \
	EVIDENCE="$$folder" go test -count=1 -timeout 60m \
		-run 'Crash|PowerCut|MadeWhole|CutAnywhere' \
		./io/disk ./io/wal ./io/chunkfile ./dataplane/store -args -crash=$(level); \
	go run ./internal/tally -lane crash -count states -least $(least) "$$folder"; \
	[ -n "$${EVIDENCE:-}" ] || rm -rf "$$folder"
	@echo "crash: ok"

kernel: packages ## power cuts of a store on ext4 in a real kernel (User-Mode Linux), every write recorded
	CGO_ENABLED=0 go build -trimpath -o bin/kernel ./cmd/kernel
	@unshare --mount bin/kernel run $(KERNELFLAGS)

corrupt: ## every byte and bit of the formats mutated, every verdict counted
	@deploy/corrupt.sh

power: packages build ## power cuts of a whole cluster, ROUNDS in a row (100): no acknowledged byte is lost
	FUSE=required go test -count=1 ./perf/faultfs
	LANE=required ROUNDS=$(ROUNDS) go test -count=1 -v -timeout 90m ./perf/nemesis \
		-run 'TestNoAcknowledgedByteIsLost|TestDisksThatLie'
	@echo "power: ok"

faults: packages build ## bad sector, full disk, EIO, slow disk and stall in a running cluster: pause and what the operator sees
	FUSE=required go test -count=1 ./perf/faultfs
	LANE=required go test -count=1 -v -timeout 20m ./perf/nemesis -run TestARunningCluster
	@echo "faults: ok"

nemesis: packages build ## a node killed, frozen, stopped and cut off under load, BLOWS of each (5): pauses, nothing lost (NIGHTLY=1: every kind, 20 of each; KINDS='bad sectors|frozen': these)
	LANE=required NIGHTLY=$(NIGHTLY) ROUNDS=$(BLOWS) go test -count=1 -v \
		-timeout $(if $(NIGHTLY),360m,60m) ./perf/nemesis \
		-run 'TestClientsGoOn$(if $(KINDS),/($(KINDS)))'
	@echo "nemesis: ok"

trace: packages build ## `ashlar trace` names a slow disk, a starved node and slow links, and counts what the nodes count; what it costs, at most a twentieth of a write
	LANE=required go test -count=1 -v -timeout 20m ./perf/nemesis -run 'TestTrace|TestWhatTracing'
	@echo "trace: ok"

operations: packages build ## docs/operations.md, word for word: three machines, etcd, a control plane, a machine and a disk that die
	LANE=required go test -count=1 -v -timeout 20m ./perf/runbook -run TestPageOfOperations
	@echo "operations: ok"

fill: packages build ## a node that was away is given FILL_MIB (4096) beside a client: how fast, what the client feels
	LANE=required FILL_MIB=$(FILL_MIB) go test -count=1 -v -timeout 30m ./perf/nemesis \
		-run TestReplicasAreFilled
	@echo "fill: ok"

sim: ## a copyset, its disks, network and clocks in simulated time, faults from seeds (SEED=n: one, with its log)
	@$(if $(SEED),deploy/sim.sh -seed $(SEED),deploy/sim.sh $(if $(NIGHTLY),20000,300) 60)
	@echo "sim: ok"

control-sim: ## the schedulers on 1,000 nodes for DAYS (60) of simulated failures: rewrites table and figure of docs/scheduling.md
	@go run ./cmd/control-sim -days $(DAYS) -page docs/scheduling.md
	@echo "control-sim: ok"

control-load: ## heartbeats of 1,000 nodes with 1,000 replicas each to a control plane on one processor: rewrites a table of docs/performance.md
	@CGO_ENABLED=0 go build -trimpath -o bin/control-load ./cmd/control-load
	@bin/control-load -page docs/performance.md
	@echo "control-load: ok"

evidence: ## runs the lanes and rewrites the tables of docs/reliability.md from their counts
	@rm -rf bin/evidence && mkdir -p bin/evidence
	EVIDENCE=$(CURDIR)/bin/evidence $(MAKE) --no-print-directory $(LANES)
	go run ./internal/reliability -from bin/evidence

bench: packages build ## latency, IOPS and cost per operation of a cluster beside their floor, in one run
	go run ./perf/bench $(BENCHFLAGS)

bench-peers: packages build ## the same beside other block stores (PEERS='nbdkit qemu-nbd', or NAME:fio options of one that runs)
	go run ./perf/bench -peers "$(PEERS)" $(BENCHFLAGS)

microbench: ## the Go benchmarks of every package
	go test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) ./...

clean: ## removes what the targets above made
	rm -rf bin

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
