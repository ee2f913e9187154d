package disk

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Config of a real disk.
type Config struct {
	// Arena is memory to register with the ring (buf.Pool.Arena); may be nil. It must stay
	// mapped until the disk is closed.
	Arena []byte
	// Logger gets what an operator should know; nil: slog.Default().
	Logger *slog.Logger
	// NoURing forces worker goroutines in place of io_uring.
	NoURing bool

	// For tests: other bounds of the ring, and a reason for which it is refused; another
	// bound of the descriptors.
	limits ringLimits
	refuse error
	files  int64
}

// tmpPrefix marks files that are not whole yet. They never show in List, and OpenDir removes
// those that a crash left.
const tmpPrefix = ".tmp"

// dirDisk is a directory of a file system, used through direct I/O.
type dirDisk struct {
	fdDisk
	lock   *os.File
	direct int // O_DIRECT, or 0 where the file system has none
	// readOnly: nothing is ever written, and the lock may be absent.
	readOnly bool
	tmpSeq   atomic.Uint64
	budget   atomic.Int64 // of the descriptors of all disks
	fixed    bool         // the budget stays, whatever the process may have
	parking  atomic.Bool  // the log says that files are parked
}

// OpenDir opens an existing directory as a disk and locks it: ErrLocked when another process
// has it. io_uring carries the submitted operations where the kernel allows it, worker
// goroutines otherwise; which one, and why, is logged once.
func OpenDir(path string, cfg Config) (Disk, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if st, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("%w: open directory: %w", classOf(err), err)
	} else if !st.IsDir() {
		return nil, fmt.Errorf("%w: %s is not a directory", ErrInvalid, path)
	}
	lock, err := lockDir(path)
	if err != nil {
		return nil, err
	}
	d := &dirDisk{fdDisk: newFDDisk(path, cfg.Logger), lock: lock}
	if err := d.prepare(); err != nil {
		_ = lock.Close()
		return nil, err
	}
	d.budget.Store(cmp.Or(cfg.files, fileBudget()))
	d.fixed = cfg.files != 0
	d.engine = d.newEngine(cfg)
	d.log.Info("disk opened", "dir", path, "engine", d.engine.name(), "direct", d.direct != 0)
	return d, nil
}

// lockDir takes the directory's lock and writes our process id into it for the operator.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: lock %s: %w", classOf(err), dir, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		return nil, lockRefused(dir, f, err)
	}
	_ = f.Truncate(0)
	_, _ = f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	return f, nil
}

// prepare removes what a crash left half-made and finds out about direct I/O.
func (d *dirDisk) prepare() error {
	err := filepath.WalkDir(d.root, func(p string, e os.DirEntry, err error) error {
		switch {
		case err != nil && p == d.root:
			return err
		case err != nil: // not ours to read, as lost+found
			return filepath.SkipDir
		case !e.IsDir() && strings.HasPrefix(e.Name(), tmpPrefix):
			return os.Remove(p)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%w: scan %s: %w", classOf(err), d.root, err)
	}
	probe := filepath.Join(d.root, tmpPrefix+"direct")
	d.direct = unix.O_DIRECT
	fd, err := openFD(probe, unix.O_RDWR|unix.O_CREAT|unix.O_DIRECT)
	switch {
	case errors.Is(err, unix.EINVAL):
		d.direct = 0
		d.log.Warn("file system has no direct I/O: using its cache, expect uneven latency",
			"dir", d.root)
	case err != nil:
		return fmt.Errorf("%w: create in %s: %w", classOf(err), d.root, err)
	default:
		_ = unix.Close(fd)
	}
	if err := os.Remove(probe); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: remove in %s: %w", classOf(err), d.root, err)
	}
	return nil
}

// Space implements Disk. Free is what this process may use.
func (d *dirDisk) Space() (total, free int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(d.root, &st); err != nil {
		return 0, 0, fmt.Errorf("%w: space of %s: %w", ErrIO, d.root, err)
	}
	return int64(st.Blocks) * st.Bsize, int64(st.Bavail) * st.Bsize, nil
}

// Close implements Disk. Files still open are closed with it.
func (d *dirDisk) Close() error {
	if err := d.shut(); err != nil || d.lock == nil {
		return err
	}
	return d.lock.Close()
}
