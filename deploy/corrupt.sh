#!/bin/bash
# Runs the corruption sweeps in full and prints what came of every mutation. It fails when a test
# fails, or when a mutation was harmless or gave wrong data.
set -euo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! go test -count=1 -timeout 15m -v -run 'Guarded|EarlierLifeComesBack|Rot|EveryByteOfThe' \
	./io/disk ./io/wal ./io/chunkfile ./dataplane/store -corrupt.all >"$log" 2>&1; then
	grep -v '^=== ' "$log" | tail -50
	echo "corrupt: FAILED"
	exit 1
fi
# Lines of internal/evidence: "corrupt: NAME: map[count:N ...]".
awk '
function count(k) { return k in n ? n[k] : 0 }
BEGIN {
	form = "%-54s %9s %9s %9s %9s %7s %9s %6s\n"
	printf form, "area", "mutations", "detected", "repaired", "rejected", "free", "harmless", "wrong"
}
/: corrupt: .*: map\[/ {
	name = $0
	sub(/^.*: corrupt: /, "", name)
	sub(/: map\[.*/, "", name)
	list = $0
	sub(/^.*: map\[/, "", list)
	sub(/\].*$/, "", list)
	delete n
	while (match(list, /[a-z ]+:[0-9]+/)) {
		item = substr(list, RSTART, RLENGTH)
		list = substr(list, RSTART + RLENGTH)
		split(item, kv, ":")
		sub(/^ /, "", kv[1])
		n[kv[1]] = kv[2]
	}
	printf form, name, count("mutations"), count("detected"), count("repaired"),
		count("rejected"), count("free"), count("harmless"), count("wrong")
	if ("reads" in n)
		printf "%-54s %d reads: %d right, %d refused, %d wrong; %d copysets declared damaged\n",
			"", n["reads"], n["reads right"], n["reads refused"], n["wrong"], n["copysets damaged"]
	total += count("mutations"); bad += count("harmless") + count("wrong"); wrong += count("wrong")
	areas++
}
END {
	printf "corrupt: %d mutations in %d areas; wrong data returned: %d\n", total, areas, wrong
	if (bad > 0 || areas < 11) exit 1
}' "$log"
