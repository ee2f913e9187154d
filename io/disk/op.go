package disk

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Kind is what an Op does.
type Kind uint8

// The kinds of operation.
const (
	Read Kind = iota + 1
	Write
	Sync
)

// String returns the kind as used in errors.
func (k Kind) String() string {
	switch k {
	case Read:
		return "read"
	case Write:
		return "write"
	case Sync:
		return "sync"
	}
	return fmt.Sprintf("operation kind %d", uint8(k))
}

// Op is one asynchronous operation. The caller owns it before Submit and after Done; between
// them the disk does, and Vec and its buffers must stay unchanged. It may be used again, and
// then costs no allocation. It must not be copied while the disk owns it.
type Op struct {
	Kind    Kind
	File    File     // set by Submit
	Vec     [][]byte // Read and Write: whole blocks
	Off     int64
	Durable bool   // Write: survives a power cut once done
	Tag     uint64 // correlates the operation with device traces; the low 48 bits are used
	// Done is called exactly once, on a goroutine of the disk. It must not block; it may
	// Submit and Flush. It is never called within Submit.
	Done func(*Op)
	// N is the number of bytes moved; Err is nil only when that is all of Vec.
	N   int
	Err error

	state opState
	watch opWatch
}

// opState is what a disk keeps in an operation while it owns it.
type opState struct {
	want     int          // bytes of Vec
	next     *Op          // real disk: the list it waits in
	iov      []unix.Iovec // real disk: heap memory that the kernel reads; kept for reuse
	from, to uint64       // simulated disk: sequence numbers of the blocks written
}
