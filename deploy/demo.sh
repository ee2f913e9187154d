#!/usr/bin/env bash
# The main job on real input, end to end, in under two minutes after the build:
#
#   three node processes on loopback, a volume, an ext4 image of a real source tree copied onto it
#   with nbdcopy, a node killed (SIGKILL) in the middle of the copy, the image read back and
#   compared, the file system checked, the killed node started again until it has caught up, and
#   a verified random load through NBD.
#
# Prints progress while it works and a summary at the end, then "demo: ok". When a step fails it
# says which, shows the ends of the logs and leaves with status 1. Everything it starts and writes
# is gone afterwards; KEEP=1 keeps the directory.
#
#   ASHLAR     the binary (default bin/ashlar)
#   TREE       the directory to make the image from (default: the source of the Go toolchain)
#   IMAGE_MIB  size of image and volume (default: the tree and what ext4 adds)
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:/usr/sbin:/sbin" LC_ALL=C

ASHLAR=${ASHLAR:-bin/ashlar}
TREE=${TREE:-$(go env GOROOT)/src}
dir=$(mktemp -d "${TMPDIR:-/tmp}/ashlar-demo.XXXXXX")
data=$dir/data
up_pid='' probe_pid='' copy_pid='' step='begin' began=$SECONDS

say() { printf '%3d s  %s\n' $((SECONDS - began)) "$*"; }
ashlar() { "$ASHLAR" "$@" --data "$data"; }
status() { ashlar cluster status -o json; }
# stop_pid PID: ends a process that this script started, and waits for it.
stop_pid() {
	[ -n "$1" ] && kill "$1" 2>/dev/null && wait "$1" 2>/dev/null
	return 0
}

finish() {
	local rc=$?
	trap - EXIT INT TERM
	set +e
	if [ $rc -ne 0 ]; then
		echo "demo: failed at: $step" >&2
		for f in "$dir"/*.log "$data"/log/*.log; do
			[ -s "$f" ] && { echo "--- the end of ${f#"$dir"/}" >&2; tail -n 8 "$f" >&2; }
		done
	fi
	stop_pid "$probe_pid"
	stop_pid "$copy_pid"
	stop_pid "$up_pid"
	[ -n "${KEEP:-}" ] && echo "kept: $dir" || rm -rf "$dir"
	[ $rc -eq 0 ] && echo 'demo: ok' || echo 'demo: FAILED' >&2
	exit $rc
}
trap finish EXIT
trap 'exit 130' INT TERM

# fio_json NAME: the result of a job; fio puts its own messages before it.
fio_json() { sed -n '/^{/,$p' "$dir/$1.json"; }
# fio_verdict NAME: one line of IOPS and latencies of a fio result, reads and writes.
fio_verdict() {
	fio_json "$1" | jq -r '
		def us(p): ((.clat_ns.percentile[p] // 0) / 1000 | floor);
		.jobs[0] | {write, read} | to_entries[] | select(.value.total_ios > 0)
		| .key as $kind | .value
		| "\($kind) \(.iops | floor) IOPS, p50 \(us("50.000000")) us, p99 \(us("99.000000")) us"' |
		paste -sd ';' | sed 's/;/; /g'
}
# run_fio NAME ARGS...: a fio job on the scratch volume; its result is in NAME.json.
run_fio() {
	local name=$1
	shift
	exec_fio "$name" "$@" &
	wait $!
}
# exec_fio becomes fio, for a job in the background whose pid is fio's own.
exec_fio() {
	local name=$1
	shift
	exec fio --name="$name" --ioengine=nbd --uri="nbd://$nbd/scratch" --group_reporting \
		--output-format=json --output="$dir/$name.json" "$@" >"$dir/$name.log" 2>&1
}

step='make an ext4 image of the source tree'
tree_mib=$(du -sm "$TREE" | cut -f1)
mib=${IMAGE_MIB:-$(((tree_mib * 5 / 4 + 64 + 15) / 16 * 16))}
mke2fs -q -t ext4 -d "$TREE" "$dir/image" "${mib}M" >"$dir/mke2fs.log" 2>&1
sum=$(sha256sum <"$dir/image")
say "image: $mib MiB ext4 of $(find "$TREE" -type f | wc -l) files ($TREE)"

step='start the cluster'
# The folder of a demo may be in memory, which a node refuses for data that has to last.
"$ASHLAR" up --data "$data" --nodes 3 --volume image --size "${mib}MiB" --nbd 127.0.0.1:0 \
	--allow-volatile-cache --no-restart --log-level warn >"$dir/ready" 2>"$dir/up.log" &
up_pid=$!
for _ in $(seq 600); do
	[ -s "$dir/ready" ] && break
	kill -0 "$up_pid" 2>/dev/null || { echo "ashlar up ended" >&2; exit 1; }
	sleep 0.1
done
read -r word url <"$dir/ready"
[ "$word" = ready ]
nbd=${url#nbd://} nbd=${nbd%%/*}
ashlar volume create scratch --size 256MiB >/dev/null
say "cluster: $(status | jq -r '"\([.processes[] | select(.role == "node")] | length) nodes, \(.copysets) copysets, \(.processes | length) processes"'), $url"

step='copy the image onto the volume with nbdcopy'
# A small steady writer beside the copy feels the outage as a client does: its longest write is
# the pause.
exec_fio probe --rw=randwrite --bs=4k --iodepth=1 --rate_iops=100 --time_based --runtime=60 \
	--size=128M &
probe_pid=$!
# The node that leads most copysets hurts most.
leader=$(ashlar copyset list -o json |
	jq -r 'group_by(.leader_node_id) | max_by(length) | .[0].leader_node_id')
read -r victim victim_pid < <(ashlar node list -o json |
	jq -r --argjson id "$leader" '.[] | select(.id == $id) | "\(.name) \(.pid)"')
mkfifo "$dir/progress"
copy_began=$(date +%s%N)
nbdcopy --flush --progress=3 "$dir/image" "$url" 3>"$dir/progress" 2>"$dir/copy.log" &
copy_pid=$!
killed_at='' at='' shown=0
while IFS=/ read -r at _; do
	if [ "$at" -ge 40 ] && [ -z "$killed_at" ]; then
		kill -KILL "$victim_pid"
		killed_at=$at
		kill -0 "$copy_pid" || { echo 'the copy ended before the kill' >&2; exit 1; }
		say "killed node $victim (pid $victim_pid) with SIGKILL at $at %: it led most copysets"
		step='go on copying with two nodes'
	fi
	if [ "$at" -ge $((shown + 20)) ]; then
		shown=$at
		say "copy: $at %"
	fi
done <"$dir/progress"
wait "$copy_pid"
copy_pid=''
[ -n "$killed_at" ] || { echo 'the copy ended before the node could be killed' >&2; exit 1; }
copy_ms=$((($(date +%s%N) - copy_began) / 1000000))
copy_rate=$((mib * 1000 / (copy_ms + 1)))
say "copy: done, $mib MiB in $copy_ms ms ($copy_rate MiB/s), with the outage in it"
kill -TERM "$probe_pid" 2>/dev/null || true
wait "$probe_pid" || true
probe_pid=''
pause=$(fio_json probe | jq '[.jobs[].write.clat_ns.max] | max / 1e6 | floor')
say "pause: the longest 4 KiB write of a steady client across the kill took $pause ms"

step='read the image back and compare'
back_began=$SECONDS
nbdcopy "$url" "$dir/back"
[ "$(sha256sum <"$dir/back")" = "$sum" ] || { echo 'sha256 differs' >&2; exit 1; }
say "read back in $((SECONDS - back_began)) s: sha256 ${sum:0:16}... is the same"

step='check the file system that came back'
e2fsck -fn "$dir/back" >"$dir/e2fsck.log" 2>&1
say "e2fsck -fn: clean"
rm -f "$dir/back"

step='start the killed node again and let it catch up'
say "cluster with a node less: $(status | jq -r '"\(.health), \(.copysets_full) of \(.copysets) copysets full"')"
kill -HUP "$up_pid"
behind_since=$(date +%s%N) last=''
for _ in $(seq 600); do
	now=$(status | jq -r '"\(.copysets_full) \(.copysets)"' || true)
	[ "$now" = "$last" ] || say "catching up: ${now% *} of ${now#* } copysets full"
	last=$now
	[ -n "$now" ] && [ "${now% *}" = "${now#* }" ] && [ "$(status | jq -r .health)" = ok ] && break
	sleep 0.1
done
[ "${now% *}" = "${now#* }" ]
caught_ms=$((($(date +%s%N) - behind_since) / 1000000))
say "node $victim is back and caught up after $caught_ms ms"

step='random load with verification through NBD (fio, 4 jobs)'
run_fio verify --rw=randwrite --bs=4k --iodepth=16 --numjobs=4 --size=32M \
	--offset_increment=32M --verify=crc32c --do_verify=1 --verify_fatal=1 --verify_state_save=0
verify_line=$(fio_verdict verify)
say "verify: $verify_line"
step='latency of single operations through NBD (fio)'
run_fio write1 --rw=randwrite --bs=4k --iodepth=1 --size=128M --time_based --runtime=4
run_fio read1 --rw=randread --bs=4k --iodepth=1 --size=128M --time_based --runtime=4

step='stop the cluster'
ashlar cluster status >"$dir/last-status"
kill -TERM "$up_pid"
wait "$up_pid"
up_pid=''

cat <<SUMMARY

  Ashlar demo: 3 nodes, 3 replicas, $(nproc) CPUs, everything on loopback
  ------------------------------------------------------------------------
  image            $mib MiB ext4, copied on at $copy_rate MiB/s, sha256 equal, e2fsck clean
  outage           node $victim killed at $killed_at %; longest write $pause ms
  catching up      $caught_ms ms from the start of the node to all replicas equal
  4 KiB verify     $verify_line
  4 KiB QD1        $(fio_verdict write1); $(fio_verdict read1)
  time             $((SECONDS - began)) s
  ------------------------------------------------------------------------
SUMMARY
