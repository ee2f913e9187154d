#!/bin/bash
# Runs the simulation of a cluster on as many processors as there are, each with its share of the
# seeds, and prints what happened in all of them.
#
#   deploy/sim.sh SEEDS SECONDS     seeds from 1 on, of so many simulated seconds
#   deploy/sim.sh -seed N           one seed, with the log of its replicas
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
go test -c -o "$work/sim.test" ./dataplane/copyset
run=(-test.v -test.timeout 10h -test.run '^TestStormyClusterIsLinearizable$')
seconds=${2:-60}
if [ "$1" = -seed ]; then
	cd dataplane/copyset
	"$work/sim.test" "${run[@]}" -sim.from "$2" -sim.seeds 1 -sim.run 60s -sim.log
	exit
fi
seeds=$1 shares=$(nproc)
# A run keeps little and makes much garbage.
export GOGC=${GOGC:-400}
export EVIDENCE=${EVIDENCE:-$work/evidence}
mkdir -p "$EVIDENCE"
EVIDENCE=$(realpath "$EVIDENCE")
rm -rf "$EVIDENCE/sim"
root=$PWD
cd dataplane/copyset
echo "sim: $seeds seeds of $seconds simulated seconds, $shares at a time"
pids=()
for i in $(seq "$shares"); do
	first=$(((i - 1) * seeds / shares + 1)) last=$((i * seeds / shares))
	[ "$last" -ge "$first" ] || continue
	"$work/sim.test" "${run[@]}" -sim.from "$first" -sim.seeds $((last - first + 1)) \
		-sim.run "${seconds}s" >"$work/$i.log" 2>&1 &
	pids+=($!)
done
failed=0
for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
if [ "$failed" = 1 ]; then
	grep -hA30 -e 'sim_test.go' -e '--- FAIL' -e '^panic' "$work"/*.log | head -80 || true
	echo "sim: FAILED; one seed again, with its log: make sim SEED=N"
	exit 1
fi
"$work/sim.test" -test.run '^TestOneSeedGivesOneRun$' -sim.seeds 10 >/dev/null ||
	{ echo "sim: FAILED: a seed does not give the same run twice"; exit 1; }
echo "sim: 10 seeds gave the same trace twice"
cd "$root"
go run ./internal/tally -lane sim -count seeds -least "$seeds" -totals "$EVIDENCE"
