#!/bin/bash
# Makes the probes' object and its Go twin, with the clang that all of them were made with: Debian's
# clang-14 and llvm-14. probe.sum tells from which sources.
set -euo pipefail
types=(head op_event append_event ack_event delay_event bio_event resend_event ring_event hist device_class)
go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target amd64,arm64 \
	-cflags "-O2 -g -Wall -Werror -I." "${types[@]/#/-type=}" probe probe.bpf.c
sha256sum bpf.h kernel.h probe.bpf.c generate.sh >probe.sum
