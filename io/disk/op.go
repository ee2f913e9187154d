package disk

// Kind is what an Op does.
type Kind uint8

const (
	Read Kind = iota + 1
	Write
	Sync
)

// Op is one asynchronous operation. The caller owns it before Submit and after Done; between
// them the disk does, and Vec and its buffers must stay unchanged. It may be used again.
type Op struct {
	Kind    Kind
	File    File     // set by Submit
	Vec     [][]byte // Read and Write: whole blocks
	Off     int64
	Durable bool   // Write: durable when done
	Tag     uint64 // correlates the operation with device traces
	// Done is called exactly once, on a goroutine of the disk. It must not block.
	Done func(*Op)
	// N is the number of bytes moved; Err is nil only when that is all of Vec.
	N   int
	Err error

	next *Op
}
