package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeHost is a sysfs and a list of mounts that the tests write.
type fakeHost struct {
	t      *testing.T
	look   cacheLook
	device map[string][2]uint32 // of paths
}

func newFakeHost(t *testing.T, mountinfo string) *fakeHost {
	h := &fakeHost{t: t, device: map[string][2]uint32{}}
	h.look = cacheLook{sys: t.TempDir(), mounts: parseMounts(mountinfo),
		real: func(path string) (string, error) { return path, nil },
		device: func(path string) (kernelDevice, error) {
			d, ok := h.device[path]
			if !ok {
				return kernelDevice{}, fs.ErrNotExist
			}
			return kernelDevice{d[0], d[1], strings.HasPrefix(path, "/dev/")}, nil
		}}
	return h
}

// attr writes attributes of a device: name=value.
func (h *fakeHost) attr(device string, values ...string) {
	h.t.Helper()
	for _, v := range values {
		name, value, _ := strings.Cut(v, "=")
		file := filepath.Join(h.look.sys, "devices", device, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			h.t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			h.t.Fatal(err)
		}
	}
}

// link points one name of sysfs at a device.
func (h *fakeHost) link(name, device string) {
	h.t.Helper()
	name = filepath.Join(h.look.sys, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(h.look.sys, "devices", device), name); err != nil {
		h.t.Fatal(err)
	}
}

func (h *fakeHost) want(path string, verdict CacheVerdict, words ...string) {
	h.t.Helper()
	l := h.look
	c, err := l.look(path)
	if err != nil {
		h.t.Fatal(err)
	}
	if c.Verdict != verdict {
		h.t.Errorf("%s: %v, not %v: %+v, %+v", path, c.Verdict, verdict, c, l.facts)
	}
	for _, w := range words {
		if all := c.Where + c.Reason + c.Fix; !strings.Contains(all, w) {
			h.t.Errorf("%s: %q does not say %q", path, all, w)
		}
	}
}

const fakeMounts = `20 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
21 20 0:5 / /mem rw - tmpfs tmpfs rw,size=1k
22 20 8:2 / /off rw shared:2 master:1 - ext4 /dev/sda2 rw,nobarrier
23 20 8:2 / /flash rw - f2fs /dev/sda2 rw,fsync_mode=nobarrier
24 20 0:9 / /net rw - nfs4 host:/export rw,vers=4.2
25 20 8:3 / /a\040b rw - xfs /dev/sda3 rw
26 20 7:0 / /img rw - ext4 /dev/loop0 rw
27 20 253:0 / /dm rw - ext4 /dev/mapper/x rw
28 20 0:5 / /dm/covered rw - tmpfs tmpfs rw
29 20 253:0 / /dm/covered rw - ext4 /dev/mapper/x rw
30 20 9:9 / /gone rw - ext4 /dev/gone rw
31 20 252:0 / /zram rw - ext4 /dev/zram0 rw
a line that is none
`

// newDiskHost has one disk of three partitions with a cache as the claim says.
func newDiskHost(t *testing.T, claim, fua string) *fakeHost {
	h := newFakeHost(t, fakeMounts)
	h.attr("pci/sda", "queue/write_cache="+claim, "queue/fua="+fua)
	for _, part := range []string{"sda1", "sda2", "sda3"} {
		h.attr("pci/sda/"+part, "partition="+part[3:])
		h.link("dev/block/8:"+part[3:], "pci/sda/"+part)
	}
	h.device = map[string][2]uint32{"/srv": {8, 1}, "/srv/img": {8, 1}, "/memory": {8, 1},
		"/mem/x": {0, 5}, "/mem/img": {0, 5}, "/off/x": {8, 2}, "/flash/x": {8, 2},
		"/net/x": {0, 9}, "/a b/x": {8, 3}, "/img/x": {7, 0}, "/dm/x": {253, 0},
		"/dm/covered": {253, 0}, "/gone/x": {9, 9}, "/zram/x": {252, 0}, "/off/img": {8, 2}}
	return h
}

func TestPartitionsHaveTheCacheOfTheirDisk(t *testing.T) {
	h := newDiskHost(t, "write back", "1")
	h.want("/srv", CacheFlushed, "/ (ext4) on sda1", "writes through it")
	h.want("/memory", CacheFlushed, "/ (ext4)") // no folder of the mount /mem
	h.want("/a b/x", CacheFlushed, "/a b (xfs) on sda3")
	newDiskHost(t, "write back", "0").want("/srv", CacheFlushed, "durable writes flush")
	newDiskHost(t, "write through", "0").want("/srv", CacheNone, "no volatile write cache")
	newDiskHost(t, "something else", "0").want("/srv", CacheUnknown, "sda1", "does not say")
}

func TestABlockDeviceIsLookedAtItself(t *testing.T) {
	h := newDiskHost(t, "write back", "1")
	h.attr("virtual/zram0", "queue/write_cache=write through")
	h.link("dev/block/252:0", "virtual/zram0")
	h.device["/dev/sda2"], h.device["/dev/zram0"] = [2]uint32{8, 2}, [2]uint32{252, 0}
	h.want("/dev/sda2", CacheFlushed, "sda2", "writes through it") // whatever /off was mounted with
	h.want("/dev/zram0", CacheVolatile, "zram0", "memory")
}

func TestMemoryAndForeignFileSystemsAreTold(t *testing.T) {
	h := newDiskHost(t, "write back", "1")
	h.attr("virtual/zram0", "queue/write_cache=write through")
	h.link("dev/block/252:0", "virtual/zram0")
	h.want("/mem/x", CacheVolatile, "/mem (tmpfs)", "memory", "directory on a disk")
	h.want("/zram/x", CacheVolatile, "/zram (ext4) on zram0", "memory")
	h.want("/net/x", CacheUnknown, "/net (nfs4)", "does not show")
	h.want("/gone/x", CacheUnknown, "device 9:9")
}

func TestBarriersOffMatterOverAVolatileCacheOnly(t *testing.T) {
	h := newDiskHost(t, "write back", "1")
	h.want("/off/x", CacheVolatile, "/off (ext4) on sda2", "without barriers", "barrier /off")
	h.want("/flash/x", CacheVolatile, "/flash (f2fs)", "without barriers")
	newDiskHost(t, "write through", "0").want("/off/x", CacheNone)
	newDiskHost(t, "", "0").want("/off/x", CacheUnknown)
}

func TestStackedDevicesAreAsGoodAsTheWorstBelow(t *testing.T) {
	h := newDiskHost(t, "write back", "1")
	h.attr("virtual/dm-0", "queue/write_cache=write back", "queue/fua=1")
	h.link("dev/block/253:0", "virtual/dm-0")
	h.link("devices/virtual/dm-0/slaves/sda2", "pci/sda/sda2")
	h.want("/dm/x", CacheFlushed, "/dm (ext4) on dm-0 on sda2", "writes through")
	h.want("/dm/covered", CacheFlushed, "/dm/covered (ext4)") // the later mount counts

	h.attr("pci/sdb", "queue/write_cache=write back", "queue/fua=0")
	h.link("devices/virtual/dm-0/slaves/sdb", "pci/sdb")
	h.want("/dm/x", CacheFlushed, "sdb", "durable writes flush")

	h.attr("virtual/dm-0", "queue/write_cache=write through")
	h.want("/dm/x", CacheVolatile, "passes no flushes on", "/sys/block/dm-0/queue")

	h.attr("pci/sda", "queue/write_cache=write through")
	h.attr("pci/sdb", "queue/write_cache=write through")
	h.want("/dm/x", CacheNone)

	h.link("devices/virtual/dm-0/slaves/lost", "pci/lost")
	h.want("/dm/x", CacheUnknown, "does not say")
}

func TestLoopDevicesAreAsGoodAsTheirFile(t *testing.T) {
	h := newDiskHost(t, "write back", "1")
	h.attr("virtual/loop0", "queue/write_cache=write back", "loop/backing_file=/srv/img")
	h.link("dev/block/7:0", "virtual/loop0")
	h.want("/img/x", CacheFlushed, "/img (ext4) on loop0 on / (ext4) on sda1")
	h.attr("virtual/loop0", "loop/backing_file=/mem/img")
	h.want("/img/x", CacheVolatile, "/mem (tmpfs)", "memory")
	h.attr("virtual/loop0", "loop/backing_file=/off/img")
	h.want("/img/x", CacheVolatile, "without barriers", "remount,barrier /off")
	h.attr("virtual/loop0", "loop/backing_file=/elsewhere (deleted)")
	h.want("/img/x", CacheUnknown)
	h.attr("virtual/loop0", "loop/backing_file=/srv/img", "queue/write_cache=write through")
	h.want("/img/x", CacheVolatile, "passes no flushes on", "/sys/block/loop0/queue")
	// A loop device on a file in itself: cannot be, but must end.
	h.attr("virtual/loop0", "loop/backing_file=/img/x", "queue/write_cache=write back")
	h.want("/img/x", CacheUnknown)
}

func TestCacheOfADirectoryThatIsNotThereSaysSo(t *testing.T) {
	if _, err := CacheOf(filepath.Join(t.TempDir(), "none")); !errors.Is(err, ErrNotExist) {
		t.Error(err)
	}
}
