#!/bin/sh
# First program of the virtual machine: makes the recording device, runs the workload on ext4 over
# it and powers off. $1: the program; the rest are its arguments. Errors are for the caller to see
# by the absence of the last line.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
modules=/usr/lib/uml/modules/$(uname -r)/kernel/drivers/md

end() {
	echo "$1"
	sync
	mount -t proc proc /proc 2>/dev/null
	echo o >/proc/sysrq-trigger
	sleep 60
}
need() { "$@" || end "guest: failed: $*"; }

need mount -t proc proc /proc
need mount -t sysfs sys /sys
mountpoint -q /dev || need mount -t devtmpfs dev /dev
need mount -t tmpfs tmp /mnt
need mount -t tmpfs run /run
need "$1" load "$modules/dm-mod.ko"
need "$1" load "$modules/dm-log-writes.ko"
need dmsetup create --noudevsync recorded --table \
	"0 $(blockdev --getsz /dev/ubda) log-writes /dev/ubda /dev/ubdb"
need dmsetup mknodes
mkdir /mnt/disk
need mount -t ext4 /dev/mapper/recorded /mnt/disk
need "$@"
need umount /mnt/disk
need dmsetup remove --noudevsync recorded
end "guest: ok"
