package load

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/ashlar-storage/ashlar/perf/job"
)

var (
	// ErrJob marks a job that makes no sense.
	ErrJob = errors.New("load: bad job")
	// ErrLied marks what was read and is not what was written.
	ErrLied = errors.New("load: verify")
)

// Kind is what an operation does.
type Kind uint8

// The kinds of operations.
const (
	Read Kind = iota
	Write
	Sync // what was written and acknowledged before is durable afterwards
)

// Op is one operation for an engine.
type Op struct {
	Kind Kind
	Off  int64
	Data []byte
	// Done is called once, from any goroutine, also from inside Submit.
	Done func(*Op)
	Err  error
	// Engine is the engine's own, kept from use to use.
	Engine any

	intended int64 // when it was to begin, ns of the run
	began    int64
	ended    int64
	stamp    uint32 // number of the write of a verified block
	slot     *slot
}

// Engine completes operations.
type Engine interface {
	Submit(op *Op)
}

// Lender is an engine that has memory of its own, which it writes from and reads into without
// copying. A read may then set Op.Data to where the data came; it holds until the next Submit of
// the operation, or Return.
type Lender interface {
	// Lend gives n bytes for all uses of an operation; nil when there are none.
	Lend(op *Op, n int) []byte
	// Return ends the operation's last use.
	Return(op *Op)
}

// Job says what to do.
type Job struct {
	Reads  int // percent of operations that read: 0 writes, 100 reads
	Sizes  [2][]job.Share
	Random bool
	// Distinct makes random offsets touch each block once before any is touched again.
	Distinct bool
	Spread   job.Spread
	Depth    int   // operations at one time
	Offset   int64 // of the region
	Size     int64 // of the region; offsets in it are multiples of the smallest block
	Seed     uint64

	// Ops and Bytes end the run; 0: only Duration does, which is from the end of Ramp to the last
	// submission.
	Ops, Bytes     int64
	Duration, Ramp time.Duration
	Think          time.Duration // after each operation of depth 1

	// Rate makes an open loop: operations a second, of reads and of writes.
	Rate    [2]float64
	Poisson bool

	SyncEvery int // writes
	SyncLast  bool
	Verify    *Verify
	Logs      Logs

	// Progress, when set, counts while the run goes on.
	Progress *Progress
}

// Verify says how blocks are made and checked.
type Verify struct {
	// Pattern, when set, is the content, with the block's offset at PatternAt when that is not
	// negative; else content is random, with a head of offset, number of the write and crc32c.
	Pattern   []byte
	PatternAt int
	// After reads everything that was written once more, at the end.
	After bool
	// Fatal ends the run at the first wrong block.
	Fatal bool
}

// Logs says which are kept, and of what time each line is the mean; 0: of single operations (Lat)
// and half seconds.
type Logs struct {
	BW, Lat, IOPS bool
	Every         time.Duration
}

// Progress counts completed operations, by direction.
type Progress struct{ Ops, Bytes [2]atomic.Int64 }

// Blocks are operations of one size.
func Blocks(n int) [2][]job.Share {
	s := []job.Share{{Bytes: n, Weight: 1}}
	return [2][]job.Share{s, s}
}

func (j *Job) openLoop() bool { return j.Rate[Read]+j.Rate[Write] > 0 }

// bounds are the smallest and the largest block.
func (j *Job) bounds() (low, high int) {
	for d, shares := range j.Sizes {
		if d == int(Read) && j.Reads == 0 || d == int(Write) && j.Reads == 100 {
			continue
		}
		for _, s := range shares {
			if low == 0 || s.Bytes < low {
				low = s.Bytes
			}
			high = max(high, s.Bytes)
		}
	}
	return low, high
}

func (j *Job) check() error {
	low, high := j.bounds()
	if low <= 0 || j.Depth <= 0 || j.Size < int64(high) || j.Offset < 0 || j.Reads < 0 ||
		j.Reads > 100 || j.Duration <= 0 && j.Ops <= 0 && j.Bytes <= 0 {
		return fmt.Errorf("%w: blocks from %d to %d, depth %d, offset %d, size %d, %d%% reads, "+
			"duration %v, operations %d, bytes %d", ErrJob, low, high, j.Depth, j.Offset, j.Size,
			j.Reads, j.Duration, j.Ops, j.Bytes)
	}
	if j.Distinct && low != high {
		return fmt.Errorf("%w: blocks of %d and %d bytes cannot each be touched once", ErrJob, low,
			high)
	}
	return j.checkVerify(low, high)
}

func (j *Job) checkVerify(low, high int) error {
	switch blocks := j.Size / int64(max(low, 1)); {
	case j.Verify == nil:
		return nil
	case low != high:
		return fmt.Errorf("%w: a verifying job has blocks of one size", ErrJob)
	case blocks > verifyBlocksMax:
		return fmt.Errorf("%w: %d blocks to verify, at most %d: use larger blocks or a smaller "+
			"size", ErrJob, blocks, verifyBlocksMax)
	case blocks < int64(j.Depth):
		return fmt.Errorf("%w: %d blocks to verify at depth %d: use a larger size", ErrJob, blocks,
			j.Depth)
	case j.Verify.Pattern == nil && low < headBytes:
		return fmt.Errorf("%w: blocks of %d bytes, at least %d are verified", ErrJob, low,
			headBytes)
	}
	return nil
}
