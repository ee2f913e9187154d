#!/usr/bin/env bash
# Runs a command of the Go tool so that what it links is static and has RDMA: the libraries and all their
# drivers for cards, from the archives of libibverbs-dev and librdmacm-dev.
#
#   deploy/rdma.sh build -o bin/ashlar-rdma ./cmd/ashlar
#   deploy/rdma.sh test -c -o bin/ibv.test ./rpc/rdma/ibv
#
# A library that is there as a shared one only would be an error of the linker, not a surprise on the
# machine that runs the program.
set -euo pipefail
libraries=$(dirname "$(gcc -print-file-name=libibverbs.a)")
[ -e "$libraries/libibverbs.a" ] || {
	echo "rdma: no libibverbs.a: deploy/install.sh packages-rdma.txt" >&2
	exit 1
}

# A driver is an archive of its own, named after what it drives; three are libraries in their own right.
drivers=() archives=()
for name in bnxt_re cxgb4 efa erdma hfi1verbs hns ipathverbs irdma mana mlx4 mlx5 mthca ocrdma qedr \
	rxe siw vmw_pvrdma; do
	for archive in "$libraries/lib$name-rdmav34.a" "$libraries/lib$name.a"; do
		if [ -e "$archive" ]; then
			drivers+=("$name")
			archives+=("$archive")
			break
		fi
	done
done
echo "rdma: drivers linked: ${drivers[*]}" >&2

list=$(IFS=,; echo "${drivers[*]}")
export CGO_ENABLED=1
export CGO_CFLAGS="-O2 -DRDMA_STATIC_PROVIDERS=$list"
export CGO_LDFLAGS="-Wl,--start-group $libraries/librdmacm.a $libraries/libibverbs.a ${archives[*]} \
$libraries/libnl-route-3.a $libraries/libnl-3.a -lpthread -lm -ldl -Wl,--end-group"

command=$1
shift
# The libraries resolve names only for calls that are not used here; the linker warns of that each time.
go "$command" -trimpath -tags rdma,netgo,osusergo,static \
	-ldflags "${LDFLAGS:-} -linkmode external -extldflags '-static -Wl,--no-warnings'" "$@"
