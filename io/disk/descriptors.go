package disk

import (
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A store has a file for each chunk, which may be more than a process may have open. Files of
// a disk beyond the process's budget are parked: an idle one gives its descriptor up, and opens
// itself again when it is next used. Whoever holds the File notices nothing but some
// microseconds. With a limit above the number of chunks no file is ever parked.
//
// A parked file is found again by its name, and must then still be the same inode: a file that
// was replaced or removed meanwhile fails with ErrNotExist, it is never confused with another.

// openFiles counts the descriptors of all disks of the process.
var openFiles atomic.Int64

// fileBudget is how many files all disks may have open: the rest of the process's limit is for
// its sockets.
func fileBudget() int64 {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return minFiles
	}
	return max(int64(min(lim.Cur, maxFiles)/4*3), minFiles)
}

// raiseFileLimit doubles how many files the process may have open, and says whether it could.
// Beyond the hard limit that takes a privilege (CAP_SYS_RESOURCE).
func raiseFileLimit() bool {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil || lim.Cur >= maxFiles {
		return false
	}
	want := unix.Rlimit{Cur: 2 * lim.Cur, Max: lim.Max}
	if want.Cur > lim.Max && lim.Cur < lim.Max {
		want.Cur = lim.Max
	}
	want.Max = max(want.Cur, want.Max)
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &want) == nil
}

// descriptor is what a file needs to open itself again.
type descriptor struct {
	mu sync.Mutex // held while the file is parked or unparked
	id fileIdentity
}

// fileIdentity tells a file from every other that has or had its name. The number of an inode
// is used again, its time of birth is not.
type fileIdentity struct {
	major, minor uint32
	inode        uint64
	born         unix.StatxTimestamp
	size         int64
}

// newFile takes over an open descriptor.
func (d *dirDisk) newFile(fd int, name string, id fileIdentity) *fdFile {
	openFiles.Add(1)
	return d.hold(&fdFile{home: d, fd: fd, name: name, size: id.size, desc: descriptor{id: id}})
}

// identify asks the kernel about an open file.
func identify(fd int) (id fileIdentity, err error) {
	var st unix.Statx_t
	err = retry(func() error {
		return unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st)
	})
	return fileIdentity{major: st.Dev_major, minor: st.Dev_minor, inode: st.Ino, born: st.Btime,
		size: int64(st.Size)}, err
}

// makeRoom keeps the disk's files within the budget before another is opened.
func (d *dirDisk) makeRoom() {
	for openFiles.Load() >= d.budget.Load() {
		if d.fixed || !raiseFileLimit() {
			d.parkSome()
			return
		}
		d.budget.Store(fileBudget())
	}
}

// parkSome parks some idle files, in the map's order, which is no order.
func (d *dirDisk) parkSome() {
	d.mu.Lock()
	defer d.mu.Unlock()
	parked, looked := 0, 0
	for f := range d.files {
		if f.park() {
			parked++
		}
		if looked++; parked == parkAtOnce || looked == parkLook {
			break
		}
	}
	if parked > 0 && !d.parking.Swap(true) {
		d.log.Info("more files than the process may have open: idle ones are closed and opened "+
			"again; raise its limit (ulimit -n, LimitNOFILE= of its unit) above the number of "+
			"chunks", "dir", d.root, "open", openFiles.Load())
	}
}

// park closes the descriptor of a file with nothing in flight.
func (f *fdFile) park() bool {
	if !f.desc.mu.TryLock() {
		return false
	}
	defer f.desc.mu.Unlock()
	if !f.gate.park() {
		return false
	}
	_ = unix.Close(f.fd) // nothing was left to report: every write has had its result
	f.fd = -1
	openFiles.Add(-1)
	return true
}

// unpark implements home.
func (d *dirDisk) unpark(f *fdFile) error {
	d.makeRoom()
	f.desc.mu.Lock()
	defer f.desc.mu.Unlock()
	if !f.gate.isParked() {
		return nil
	}
	fd, err := d.openName(f.name)
	if err != nil {
		return fault("open again", f.name, err)
	}
	id, err := identify(fd)
	if err == nil && id != f.desc.id {
		err = unix.ENOENT
	}
	if err != nil {
		_ = unix.Close(fd)
		return fault("open again", f.name, err)
	}
	f.fd = fd
	openFiles.Add(1)
	f.gate.unpark()
	return nil
}

// release implements home: it closes the descriptor; a parked file has none.
func (d *dirDisk) release(f *fdFile) error {
	f.desc.mu.Lock() // it may be being parked
	defer f.desc.mu.Unlock()
	if f.fd < 0 {
		return nil
	}
	openFiles.Add(-1)
	if err := unix.Close(f.fd); err != nil {
		return fmt.Errorf("%w: close %s: %w", classOf(err), f.name, err)
	}
	return nil
}
