package disk

import "errors"

// BlockSize is the unit of all file I/O: buffer addresses, lengths and offsets are multiples
// of it.
const BlockSize = 4096

// Classes of errors, for errors.Is. Errors carry the file and the offset.
var (
	// ErrNoSpace: the device or the byte budget is full. Nothing of the file is left behind.
	ErrNoSpace = errors.New("disk: no space")
	// ErrExists: the name is taken.
	ErrExists = errors.New("disk: exists")
	// ErrNotExist: no file of that name.
	ErrNotExist = errors.New("disk: does not exist")
	// ErrIO: the device failed, or moved fewer bytes than asked.
	ErrIO = errors.New("disk: input/output error")
	// ErrClosed: the disk or the file is closed.
	ErrClosed = errors.New("disk: closed")
	// ErrLocked: another process uses the directory or the device.
	ErrLocked = errors.New("disk: locked")
	// ErrOverloaded: more operations wait than the disk queues. Nothing was done.
	ErrOverloaded = errors.New("disk: too many operations waiting")
	// ErrFileLimit: the process may not have that many files open. The text says how to raise
	// the limit.
	ErrFileLimit = errors.New("disk: too many open files")
	// ErrReadOnly: the disk was opened to be looked at.
	ErrReadOnly = errors.New("disk: opened read-only")
	// ErrVolatile: a power cut would take what is written there. The text says why.
	ErrVolatile = errors.New("disk: volatile write cache")
	// ErrForeign: the device carries something that is not Ashlar's, or nothing yet. The text
	// names the way out.
	ErrForeign = errors.New("disk: not a device of ashlar")
	// ErrVersion: a newer program wrote the device.
	ErrVersion = errors.New("disk: newer format")
	// ErrCorrupt: the directory of a device is damaged in both of its copies.
	ErrCorrupt = errors.New("disk: corrupt")
	// ErrInvalid: the caller's name, alignment or range is wrong. The text says which.
	ErrInvalid = errors.New("disk: invalid argument")
)

// Disk is a directory of files on one device. Names are slash paths relative to its root,
// without "..". All methods may be called from any goroutine.
type Disk interface {
	// Open opens a file for direct reads and writes. ErrNotExist.
	Open(name string) (File, error)
	// Create makes a file of size bytes, a multiple of BlockSize: allocated, written with
	// zeroes once, and durable with its directory entry on return, so that later overwrites
	// change no metadata. ErrExists, ErrNoSpace.
	Create(name string, size int64) (File, error)
	// Rename replaces newname if it exists. Durable on return. ErrNotExist.
	Rename(oldname, newname string) error
	// Remove unlinks a file. Durable on return. ErrNotExist.
	Remove(name string) error
	// List returns the base names in a directory, sorted. ErrNotExist.
	List(dir string) ([]string, error)
	// MkdirAll makes a directory and its parents. Durable on return.
	MkdirAll(dir string) error
	// ReadFile reads a small metadata file of any length up to MaxFile. ErrNotExist.
	ReadFile(name string) ([]byte, error)
	// WriteFile replaces a small metadata file: after a power cut the file has the old
	// content or the new. Durable on return.
	WriteFile(name string, data []byte) error
	// Flush sends everything queued by Submit on files of this disk, in one system call for
	// a batch. It does not wait for completions.
	Flush()
	// FlushHere is Flush for a caller that has nothing better to do than to wait for the one
	// operation that it has queued: when that is alone on the disk, its Done is called before
	// FlushHere returns, by the calling goroutine, unless the device takes longer than HereWait.
	// It spares two hand-overs between goroutines.
	FlushHere()
	// AfterBatch has f called whenever the Done of one or more operations were called, by the
	// same goroutine, which the disk then does without for as long as f takes. It is set before
	// the first Submit; false: this disk never calls it.
	AfterBatch(f func()) bool
	// Space returns the size of the device and the bytes free on it.
	Space() (total, free int64, err error)
	// Stats returns counters since the disk was opened.
	Stats() Stats
	// Close waits for what is in flight, then releases the directory.
	Close() error
}

// File is an open file. Buffers are whole blocks: address and length multiples of BlockSize.
type File interface {
	// Name returns the name the file was opened by.
	Name() string
	// Size returns the file's size in bytes.
	Size() int64
	// ReadAt reads len(p) bytes, blocking the goroutine. Fewer is an error (ErrIO).
	ReadAt(p []byte, off int64) (int, error)
	// WriteVec writes all of vec at off, blocking the goroutine; whole or error. With
	// durable the bytes survive a power cut once it returns.
	WriteVec(vec [][]byte, off int64, durable bool) error
	// Sync makes everything written so far durable (fdatasync).
	Sync() error
	// Submit queues an operation. It is sent by Disk.Flush, or before when the queue is
	// full. Done is called exactly once, never within Submit.
	Submit(op *Op)
	// Close closes the file once its operations in flight are done.
	Close() error
}

// Stats counts what a disk did: operations given to the device and their bytes.
type Stats struct {
	Reads, Writes, DurableWrites, Syncs uint64
	ReadBytes, WriteBytes               uint64
	// Submits counts system calls that sent queued operations; Submitted the operations.
	Submits, Submitted uint64
	Errors             uint64
}
