package wal

// Every bound of the log, with what happens when it is met.
//
// An append may carry at most MaxAppendRecords records, MaxAppendBytes of payload,
// MaxAppendMeta of meta and what fits into a fresh segment; more completes it with ErrTooLarge
// and nothing is written. The queue of appends that wait has no bound of its own: whoever
// admits client requests bounds the bytes in flight, for there a client can be answered.
//
// When no segment is ready and the device has no room for another, appends wait until Release
// frees one: a full device slows the log and never fails it. Room tells that before it is so. Who
// must append to come to a Release has to leave room for that.
const (
	// BlockSize is the unit of alignment, of payload and of payload checksums.
	BlockSize = 4096

	// MaxMeta bounds the meta of one record, in bytes.
	MaxMeta = 16 << 10

	// MaxAppendRecords bounds the records of one append: each payload is one slice of the
	// vectored write, beside the slice of header and descriptor.
	MaxAppendRecords = maxIOV - 1

	// MaxAppendBytes bounds the payload bytes of one append.
	MaxAppendBytes = 4 << 20

	// MaxAppendMeta bounds the meta bytes of all records of one append.
	MaxAppendMeta = 384 << 10

	// MaxBatch is where gathering stops, in payload bytes: a batch holds whole appends, at
	// least one, and does not take the append that would carry it past MaxBatch. A larger
	// write costs latency for everybody in it and saves no device flush worth having.
	MaxBatch = 1 << 20

	// DefaultSegmentSize is the size of a segment file when Config leaves it zero.
	DefaultSegmentSize = 64 << 20

	// DefaultPrepared is the number of segments kept ready when Config leaves it zero.
	DefaultPrepared = 2

	// MaxPrepared bounds Config.PreparedSegments.
	MaxPrepared = 64

	// minSegment and maxSegment bound Config.SegmentSize.
	minSegment = 16 << 10
	maxSegment = 4 << 30

	// maxIOV is the kernel's bound on slices in one vectored write (IOV_MAX).
	maxIOV = 1024

	// maxFrameRecords bounds the records of one frame. Records without payload take no
	// slice, so the descriptor's size is what bounds them.
	maxFrameRecords = maxDescriptor / recordHeaderSize

	// maxDescriptor bounds the descriptor of one frame, in bytes: the largest append.
	maxDescriptor = 512 << 10

	// loneAfter is how many batches in a row were one append each before Write does the next on
	// the goroutine that calls it: where more come, they gather while the log's goroutine writes.
	loneAfter = 4

	// keepReady is how many released segment files are kept for reuse beyond the prepared
	// ones. More are removed, so that a burst does not hold its space for ever.
	keepReady = 16

	// scanWindow is the size of recovery's sequential reads, in bytes.
	scanWindow = 2 << 20

	// batchBuckets is the number of power-of-two buckets of Stats.Batches.
	batchBuckets = 11
)

// A relation the code depends on: the largest append fits a descriptor. A violation does not
// compile.
const _ = uint(maxDescriptor - frameHeaderSize - MaxAppendRecords*recordHeaderSize -
	MaxAppendBytes/BlockSize*4 - MaxAppendMeta)
