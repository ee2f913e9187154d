package engine

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ashlar-storage/ashlar/perf/load"
)

// file reads and writes with plain system calls, inside Submit.
type file struct {
	f    *os.File
	size int64
}

func openFile(s Spec) (Target, error) {
	f, size, err := openPath(s)
	if err != nil {
		return nil, err
	}
	t := &file{f: f, size: size}
	if s.Depth == 1 {
		return t, nil
	}
	ring, err := newRing(t, s.Depth)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return ring, nil
}

func openPath(s Spec) (*os.File, int64, error) {
	flags := os.O_RDONLY
	if s.Write {
		flags = os.O_RDWR
	}
	switch s.Sync {
	case "dsync":
		flags |= unix.O_DSYNC
	case "sync":
		flags |= unix.O_SYNC
	}
	if s.Direct {
		flags |= unix.O_DIRECT
	}
	st, err := os.Stat(s.File)
	switch {
	case errors.Is(err, fs.ErrNotExist) && s.Write && s.Reach > 0:
		flags |= os.O_CREATE
	case err != nil:
		return nil, 0, fmt.Errorf("engine: filename: %w", err)
	case st.IsDir():
		return nil, 0, fmt.Errorf("%w: filename %s is a directory: name a file or a device",
			ErrUnfit, s.File)
	case st.Mode()&fs.ModeDevice != 0 && s.Write:
		flags |= os.O_EXCL // refused for a device that is mounted
	}
	f, err := os.OpenFile(s.File, flags, 0o644)
	if errors.Is(err, unix.EINVAL) && s.Direct {
		err = fmt.Errorf("%w: its file system may have no direct I/O: use direct=0", err)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("engine: filename: %w", err)
	}
	size, err := f.Seek(0, io.SeekEnd)
	switch {
	case err != nil:
		err = fmt.Errorf("engine: %s: %w", s.File, err)
	case size < s.Reach && s.Write && (st == nil || st.Mode().IsRegular()):
		size, err = s.Reach, f.Truncate(s.Reach)
	case size < s.Reach:
		err = fmt.Errorf("%w: %s has %d bytes, the job uses %d: write it first, or use a smaller "+
			"size", ErrUnfit, s.File, size, s.Reach)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, size, nil
}

// Submit implements load.Engine.
func (t *file) Submit(op *load.Op) {
	fd := int(t.f.Fd())
	var n int
	var err error
	for {
		switch op.Kind {
		case load.Read:
			n, err = unix.Pread(fd, op.Data, op.Off)
		case load.Write:
			n, err = unix.Pwrite(fd, op.Data, op.Off)
		case load.Sync:
			n, err = len(op.Data), unix.Fdatasync(fd)
		}
		if err != unix.EINTR {
			break
		}
	}
	op.Err = outcome(op, n, err)
	op.Done(op)
}

// outcome is an error also when less than all was read or written.
func outcome(op *load.Op, n int, err error) error {
	switch {
	case err == unix.EINVAL:
		return fmt.Errorf("%w: direct=1 needs bs and offset to be multiples of the device's block",
			err)
	case err == nil && n != len(op.Data):
		return fmt.Errorf("%d of %d bytes: %w", n, len(op.Data), io.ErrUnexpectedEOF)
	}
	return err
}

func (t *file) Size() int64  { return t.size }
func (t *file) Close() error { return t.f.Close() }
