package disk

import (
	"fmt"
	"io"
	"path"
	"strings"
	"unsafe"
)

// lockName is the file of the root directory whose flock marks the disk as used.
const lockName = "LOCK"

// checkName accepts a clean slash path below the root. Components that start with a dot
// belong to the disk itself.
func checkName(name string) error {
	bad := func(why string) error {
		return fmt.Errorf("%w: name %q: %s", ErrInvalid, name, why)
	}
	switch {
	case name == "":
		return bad("is empty")
	case name[0] == '/' || path.Clean(name) != name:
		return bad("must be a clean path relative to the root")
	case strings.IndexByte(name, 0) >= 0:
		return bad("contains a NUL byte")
	case name == lockName:
		return bad("is reserved for the lock")
	}
	for part := range strings.SplitSeq(name, "/") {
		if part[0] == '.' {
			return bad("components must not start with a dot")
		}
		if len(part) > MaxName {
			return bad(fmt.Sprintf("a component is longer than %d bytes", MaxName))
		}
	}
	return nil
}

// checkDir is checkName with "" and "." for the root.
func checkDir(name string) (string, error) {
	if name == "" || name == "." {
		return ".", nil
	}
	return name, checkName(name)
}

// checkSize accepts the size of a new file.
func checkSize(name string, size int64) error {
	if size <= 0 || size%BlockSize != 0 {
		return fmt.Errorf("%w: create %s: size %d is not a positive multiple of %d",
			ErrInvalid, name, size, BlockSize)
	}
	return nil
}

// checkLength accepts the length of a small metadata file.
func checkLength(what, name string, n int64) error {
	if n > MaxFile {
		return fmt.Errorf("%w: %s %s: %d bytes, at most %d", ErrInvalid, what, name, n, MaxFile)
	}
	return nil
}

// checkVec accepts whole aligned blocks inside a file of the size, and returns their length.
func checkVec(kind Kind, name string, vec [][]byte, off, size int64) (int, error) {
	bad := func(why string, at ...any) (int, error) {
		return 0, fmt.Errorf("%w: %v %s at offset %d: %s",
			ErrInvalid, kind, name, off, fmt.Sprintf(why, at...))
	}
	if len(vec) == 0 || len(vec) > MaxVec {
		return bad("%d slices, want 1..%d", len(vec), MaxVec)
	}
	if off < 0 || off%BlockSize != 0 {
		return bad("the offset is not a multiple of %d", BlockSize)
	}
	total := 0
	for i, p := range vec {
		if len(p) == 0 || len(p)%BlockSize != 0 {
			return bad("slice %d has %d bytes, want whole blocks of %d", i, len(p), BlockSize)
		}
		if uintptr(unsafe.Pointer(unsafe.SliceData(p)))%BlockSize != 0 {
			return bad("slice %d does not start on a border of %d", i, BlockSize)
		}
		total += len(p)
	}
	if total > MaxIO {
		return bad("%d bytes, at most %d", total, MaxIO)
	}
	if off+int64(total) > size {
		if kind == Read {
			return 0, fmt.Errorf("%w: read %s at offset %d: %d bytes pass the size %d: %w",
				ErrInvalid, name, off, total, size, io.ErrUnexpectedEOF)
		}
		return bad("%d bytes pass the size %d", total, size)
	}
	return total, nil
}

// check validates an operation on a file and returns its length in bytes.
func (op *Op) check(name string, size int64) (int, error) {
	switch op.Kind {
	case Read, Write:
		return checkVec(op.Kind, name, op.Vec, op.Off, size)
	case Sync:
		return 0, nil
	}
	return 0, fmt.Errorf("%w: %v on %s", ErrInvalid, op.Kind, name)
}

// failed wraps the cause of a failed operation with its class, file and offset.
func failed(class error, kind Kind, name string, off int64, cause error) error {
	return fmt.Errorf("%w: %v %s at offset %d: %w", class, kind, name, off, cause)
}

// short is the error of an operation that moved n bytes of want.
func short(kind Kind, name string, off int64, n, want int) error {
	return fmt.Errorf("%w: %v %s at offset %d: %d of %d bytes: %w",
		ErrIO, kind, name, off, n, want, io.ErrUnexpectedEOF)
}
