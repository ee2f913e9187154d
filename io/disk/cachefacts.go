package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// CacheOf finds out whether what is written durably to a block device, or below an existing
// directory, survives a power cut: by the options of its mount, and by what the kernel knows of
// every device below it, through partitions, device mapper, md and loop devices. It only reads. It
// believes what a device says of itself: a device that denies its cache is not found out.
// ErrNotExist, ErrIO.
func CacheOf(path string) (Cache, error) {
	mounts, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return Cache{}, fmt.Errorf("%w: mounts of this host: %w", classOf(err), err)
	}
	l := cacheLook{sys: "/sys", mounts: parseMounts(string(mounts)), real: filepath.EvalSymlinks,
		device: deviceOf}
	return l.look(path)
}

// cacheLook gathers the facts; its fields are what it sees of the host.
type cacheLook struct {
	sys    string
	mounts []mount
	real   func(path string) (string, error)
	device func(path string) (d kernelDevice, err error)

	facts cacheFacts
	point string   // where the file system is mounted that sends no flushes
	layer string   // that passes no flushes on
	trail []string // mounts and devices, from the top
	depth int      // of loop devices
}

func (l *cacheLook) look(path string) (Cache, error) {
	real, err := filepath.Abs(path)
	if err == nil {
		real, err = l.real(real)
	}
	if err == nil {
		err = l.file(real)
	}
	if err != nil {
		return Cache{}, fmt.Errorf("%w: device below %s: %w", classOf(err), path, err)
	}
	c := judgeCache(l.facts, l.point, l.layer)
	c.Where = strings.Join(l.trail, " on ")
	return c, nil
}

// kernelDevice is a device of the kernel: the one that a path is, or else the one that its file
// system is on.
type kernelDevice struct {
	major, minor uint32
	itself       bool
}

func deviceOf(path string) (kernelDevice, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return kernelDevice{}, err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		return kernelDevice{unix.Major(st.Rdev), unix.Minor(st.Rdev), true}, nil
	}
	return kernelDevice{unix.Major(st.Dev), unix.Minor(st.Dev), false}, nil
}

var memoryFileSystems = []string{"tmpfs", "ramfs", "hugetlbfs", "rootfs"}

// file gathers what is below a file, a directory or a block device.
func (l *cacheLook) file(path string) error {
	d, err := l.device(path)
	if err != nil {
		return err
	}
	if d.itself { // there is no mount to look at
		l.facts = cacheFacts{fua: true}
		l.number(d.major, d.minor)
		return nil
	}
	m := mountOf(l.mounts, path)
	l.trail = append(l.trail, fmt.Sprintf("%s (%s)", m.point, m.kind))
	l.facts = cacheFacts{barriersOff: m.barriersOff(), fua: true}
	l.point = m.point
	switch {
	case slices.Contains(memoryFileSystems, m.kind):
		l.facts.memory = true
	case d.major == 0: // no block device: network, FUSE, overlay, file systems over several disks
		l.facts.hidden = true
	default:
		l.number(d.major, d.minor)
	}
	return nil
}

// number gathers what is known of a device and of those below it.
func (l *cacheLook) number(major, minor uint32) {
	dir, err := filepath.EvalSymlinks(filepath.Join(l.sys, "dev", "block",
		fmt.Sprintf("%d:%d", major, minor)))
	if err != nil {
		l.trail = append(l.trail, fmt.Sprintf("device %d:%d", major, minor))
		l.facts.mute = true
		return
	}
	l.block(dir, false)
}

// block is number for the folder of a device in sysfs. swallowed: a layer above it ends flushes.
func (l *cacheLook) block(dir string, swallowed bool) {
	name := filepath.Base(dir)
	l.trail = append(l.trail, name)
	if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
		dir = filepath.Dir(dir) // the queue is the whole device's
		name = filepath.Base(dir)
	}
	claim := attribute(dir, "queue/write_cache")
	if claim == "write through" && !swallowed {
		// The kernel ends flushes here; that matters when something below has a cache.
		defer l.blame(name, l.facts.swallowed)
		swallowed = true
	}
	switch slaves, _ := os.ReadDir(filepath.Join(dir, "slaves")); {
	case len(slaves) > 0:
		for _, s := range slaves {
			below, err := filepath.EvalSymlinks(filepath.Join(dir, "slaves", s.Name()))
			if err != nil {
				l.facts.mute = true
				continue
			}
			l.block(below, swallowed)
		}
	case strings.HasPrefix(name, "zram"), isNumbered(name, "ram"):
		l.facts.memory = true
	case strings.HasPrefix(name, "loop"):
		l.loop(dir, swallowed)
	default:
		l.leaf(claim, attribute(dir, "queue/fua") == "1", swallowed)
	}
}

// blame remembers the layer below which a flush was found to be lost.
func (l *cacheLook) blame(name string, before bool) {
	if l.facts.swallowed && !before && l.layer == "" {
		l.layer = name
	}
}

// leaf takes what a device at the bottom says of itself. Its own claim swallows nothing: without a
// cache there is nothing to flush.
func (l *cacheLook) leaf(claim string, fua, swallowed bool) {
	switch claim {
	case "write back":
		l.facts.writeBack = true
		l.facts.fua = l.facts.fua && fua
		l.facts.swallowed = l.facts.swallowed || swallowed
	case "write through":
	default:
		l.facts.mute = true
	}
}

// loop goes on with the file behind a loop device. Its pages are a volatile cache, flushed by a
// sync of the file, which is worth what it is worth in the file system around it.
func (l *cacheLook) loop(dir string, swallowed bool) {
	l.leaf("write back", false, swallowed)
	file := attribute(dir, "loop/backing_file")
	if file == "" || l.depth >= loopDepthMax {
		l.facts.mute = true
		return
	}
	below := cacheLook{sys: l.sys, mounts: l.mounts, device: l.device, depth: l.depth + 1}
	if err := below.file(file); err != nil {
		l.facts.mute = true // of another mount namespace, or removed
		return
	}
	l.trail = append(l.trail, below.trail...)
	f := below.facts
	l.facts.memory = l.facts.memory || f.memory
	l.facts.mute = l.facts.mute || f.hidden || f.mute
	if f.writeBack && f.barriersOff && !l.facts.barriersOff {
		l.facts.barriersOff, l.point = true, below.point
	}
	if f.swallowed && !l.facts.swallowed {
		l.facts.swallowed, l.layer = true, below.layer
	}
}

func isNumbered(name, prefix string) bool {
	rest, ok := strings.CutPrefix(name, prefix)
	_, err := strconv.Atoi(rest)
	return ok && err == nil
}

// attribute reads one value of sysfs; empty when it is not there.
func attribute(dir, name string) string {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// mount is one line of mountinfo.
type mount struct {
	point, kind, source string
	options             []string // of the file system
}

// barriersOff says that the file system was told to send no flushes.
func (m mount) barriersOff() bool {
	return slices.ContainsFunc(m.options, func(o string) bool {
		return o == "nobarrier" || o == "barrier=0" || o == "fsync_mode=nobarrier"
	})
}

// parseMounts reads what /proc/self/mountinfo has; lines it does not understand are left out.
func parseMounts(text string) []mount {
	var list []mount
	for line := range strings.Lines(text) {
		front, back, ok := strings.Cut(strings.TrimSpace(line), " - ")
		f, b := strings.Fields(front), strings.Fields(back)
		if !ok || len(f) < 6 || len(b) < 2 {
			continue
		}
		m := mount{point: unescape(f[4]), kind: b[0], source: unescape(b[1])}
		if len(b) > 2 {
			m.options = strings.Split(b[2], ",")
		}
		list = append(list, m)
	}
	return list
}

// unescape undoes what mountinfo does to spaces and the like: \040.
func unescape(s string) string {
	var out strings.Builder
	for len(s) > 0 {
		if s[0] == '\\' && len(s) >= 4 {
			if c, err := strconv.ParseUint(s[1:4], 8, 8); err == nil {
				out.WriteByte(byte(c))
				s = s[4:]
				continue
			}
		}
		out.WriteByte(s[0])
		s = s[1:]
	}
	return out.String()
}

// mountOf returns the mount that a clean absolute path is in: the longest that is a folder above
// it, and of equals the last, which covers the others.
func mountOf(mounts []mount, path string) mount {
	found := mount{point: "an unknown mount", kind: "unknown"}
	length := -1
	for _, m := range mounts {
		within := path == m.point || strings.HasPrefix(path, strings.TrimSuffix(m.point, "/")+"/")
		if within && len(m.point) >= length {
			found, length = m, len(m.point)
		}
	}
	return found
}
