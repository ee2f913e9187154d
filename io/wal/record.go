package wal

import (
	"errors"
	"log/slog"
	"time"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// Classes of errors, for errors.Is.
var (
	// ErrCorrupt: bytes that were durable are wrong. The text names file and offset.
	ErrCorrupt = errors.New("wal: corrupt")
	// ErrFailed: a durable write failed, so the log accepts nothing any more (fail-stop).
	ErrFailed = errors.New("wal: failed")
	// ErrClosed: the log is closed.
	ErrClosed = errors.New("wal: closed")
	// ErrForeign: the directory holds the log of another store.
	ErrForeign = errors.New("wal: belongs to another store")
	// ErrVersion: the log was written by a newer version of the format.
	ErrVersion = errors.New("wal: newer format version")
	// ErrTooLarge: an append exceeds a bound of limits.go.
	ErrTooLarge = errors.New("wal: append too large")
	// ErrInvalid: a record or the configuration is malformed. The text names the field.
	ErrInvalid = errors.New("wal: invalid")
	// ErrReleased: the bytes asked for were released, or were never written.
	ErrReleased = errors.New("wal: not in the log")
)

// LSN is a position in the log: segment sequence number x segment size + offset in the
// segment. It increases for ever; 0 is none.
type LSN uint64

// Kind tells the caller's record types apart. The log does not interpret it; 0 is invalid.
type Kind uint8

// Record is one entry of the log.
type Record struct {
	// Group is the copyset the record belongs to: the unit of damage reports.
	Group uint64
	Kind  Kind
	// Term and Index are the caller's, kept beside the record.
	Term, Index uint64
	// Meta is at most MaxMeta bytes. It must stay unchanged until Done.
	Meta []byte
	// Payload is nil or whole blocks, aligned to BlockSize in memory. It is written from
	// where it lies and must stay unchanged until Done.
	Payload []byte
	// CRCs has one crc32c for each block of Payload.
	CRCs []uint32
	// At is set before Done and in replay: where Payload lies in the log (for ReadPayload),
	// or the descriptor when there is no payload. It always lies in the record's segment.
	At LSN
}

// Append is one request: its records become durable together, in order, or not at all. It may
// be used again after Done.
type Append struct {
	Records []Record
	// Done is called once, on the writer's goroutine, and must not block. Appends complete in
	// the order in which they were given to Append.
	Done func(*Append)
	// Err is nil when the records are durable. With ErrFailed it is unknown whether they
	// are: the next recovery decides. With ErrInvalid, ErrTooLarge and ErrClosed nothing
	// was written.
	Err error
	// End is the position after the records.
	End LSN
	// Began is when the write that made them durable began, and Took how long it took. Zero where
	// there was none.
	Began time.Time
	Took  time.Duration

	next   *Append
	extent extent
}

// Config of a log.
type Config struct {
	Disk disk.Disk
	// Dir is the log's own directory on Disk.
	Dir string
	// StoreID stamps everything written. Zero is refused.
	StoreID [16]byte
	// SegmentSize in bytes, a multiple of BlockSize; 0 is DefaultSegmentSize. It is fixed
	// at the first Open.
	SegmentSize int64
	// PreparedSegments are kept ready to write; 0 is DefaultPrepared.
	PreparedSegments int
	// AfterBatch, when set, is called after the appends of a write are done, by the goroutine that
	// called their Done. more says that others wait for their write, which begins when it returns.
	AfterBatch func(more bool)
	// Logger gets what an operator should know; nil: slog.Default().
	Logger *slog.Logger
}

// Recovery tells what Open found.
type Recovery struct {
	// Segments, Records and Bytes were read and replayed; Bytes is what was read.
	Segments, Records int
	Bytes             int64
	// End is the position after the last frame: never before what Durable was before the crash,
	// unless the device lost something, or has been put back to an earlier state.
	End LSN
	// Headers are segment headers that were lost and told by the frames behind them: after a
	// crash at most one, more are damage that cost nothing.
	Headers int
	// Torn: the log ended in a write that a crash interrupted, and was cut at TruncatedAt.
	Torn        bool
	TruncatedAt LSN
	// Damage lists durable bytes that are lost. Empty after any crash of a sound device.
	Damage []Damage
	// Repaired lists bytes that are wrong and cost nothing, as other bytes of the log say the
	// same. The device that changed them may change others: an operator should know. Empty
	// after any crash of a sound device.
	Repaired []Damage
}

// Damage is a stretch of the log that was durable and cannot be read back.
type Damage struct {
	// From and To bound the positions; To is 0 when the end is unknown.
	From, To LSN
	// File and Offset say where.
	File   string
	Offset int64
	// Groups lost records here. Empty: unknown, so any group may have.
	Groups []uint64
	// Err is of class ErrCorrupt.
	Err error
}
