package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ReadOnlyConfig of a directory opened to be looked at.
type ReadOnlyConfig struct {
	// Logger gets what an operator should know; nil: slog.Default().
	Logger *slog.Logger
	// Shared opens a directory that another process uses: what is read may be half of
	// something that changes meanwhile.
	Shared bool
}

// OpenDirReadOnly opens a directory to be read and never changed: no file is made, written,
// removed or synced, not even the lock, which is held shared while the disk is open so that no
// store starts meanwhile. ErrLocked when a process uses the directory. What a crash left
// half-made stays, and List does not show it. Everything that would change something fails
// with ErrReadOnly.
func OpenDirReadOnly(path string, cfg ReadOnlyConfig) (Disk, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if st, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("%w: open directory: %w", classOf(err), err)
	} else if !st.IsDir() {
		return nil, fmt.Errorf("%w: %s is not a directory", ErrInvalid, path)
	}
	lock, err := shareLock(path)
	if err != nil && !cfg.Shared {
		return nil, err
	}
	d := &dirDisk{fdDisk: newFDDisk(path, cfg.Logger), lock: lock, direct: unix.O_DIRECT,
		readOnly: true}
	d.budget.Store(fileBudget())
	d.engine = newWorkers(&d.fdDisk)
	return ReadOnly(d), nil
}

// shareLock takes the lock that OpenDir takes, but shared and without writing to it. A
// directory without a lock file has never been a disk, or is a copy of one: nil.
func shareLock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("%w: lock %s: %w", classOf(err), dir, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		defer f.Close()
		return nil, lockRefused(dir, f, err)
	}
	return f, nil
}

// lockRefused says who holds the lock.
func lockRefused(dir string, f *os.File, err error) error {
	if err != unix.EWOULDBLOCK {
		return fmt.Errorf("%w: lock %s: %w", ErrIO, dir, err)
	}
	text := make([]byte, 16)
	n, _ := f.ReadAt(text, 0)
	holder := "process " + strings.TrimSpace(string(text[:n]))
	var pid int
	if _, err := fmt.Sscan(string(text[:n]), &pid); err != nil ||
		unix.Kill(pid, 0) == unix.ESRCH {
		// Whoever only reads the directory leaves no trace in the lock file.
		holder = "a process that only reads it, such as `ashlar store check`"
	}
	return fmt.Errorf("%w: %s is in use by %s: stop it or name another directory", ErrLocked, dir,
		holder)
}

// ReadOnly returns a view of a disk through which nothing can be changed: what would change
// something fails with ErrReadOnly and does not reach d. Closing it closes d.
func ReadOnly(d Disk) Disk { return &readOnlyDisk{Disk: d} }

type readOnlyDisk struct{ Disk }

type readOnlyFile struct{ File }

func refused(what, name string) error { return fmt.Errorf("%w: %s %s", ErrReadOnly, what, name) }

// Open implements Disk.
func (d *readOnlyDisk) Open(name string) (File, error) {
	f, err := d.Disk.Open(name)
	if err != nil {
		return nil, err
	}
	return &readOnlyFile{f}, nil
}

// Create implements Disk.
func (d *readOnlyDisk) Create(name string, _ int64) (File, error) {
	return nil, refused("create", name)
}

// Rename implements Disk.
func (d *readOnlyDisk) Rename(oldname, _ string) error { return refused("rename", oldname) }

// Remove implements Disk.
func (d *readOnlyDisk) Remove(name string) error { return refused("remove", name) }

// MkdirAll implements Disk.
func (d *readOnlyDisk) MkdirAll(dir string) error { return refused("mkdir", dir) }

// WriteFile implements Disk.
func (d *readOnlyDisk) WriteFile(name string, _ []byte) error { return refused("write", name) }

// WriteVec implements File.
func (f *readOnlyFile) WriteVec([][]byte, int64, bool) error { return refused("write", f.Name()) }

// Sync implements File.
func (f *readOnlyFile) Sync() error { return refused("sync", f.Name()) }

// Submit implements File.
func (f *readOnlyFile) Submit(op *Op) {
	if op.Kind == Read {
		f.File.Submit(op)
		return
	}
	op.File, op.N, op.Err = f, 0, refused(op.Kind.String(), f.Name())
	go op.Done(op)
}
