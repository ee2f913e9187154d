package linear

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// Errors of Check and Begin, tested with errors.Is.
var (
	ErrViolated = errors.New("linear: not linearizable")
	ErrUnknown  = errors.New("linear: no verdict in the time given")
	ErrFull     = errors.New("linear: the history is full")
)

// Op is one operation on one block, in time since the history began.
type Op struct {
	Client       int
	Block        uint64
	Write        bool
	Value        uint64 // written, or read; 0 is the value before any write
	Call, Return time.Duration
	Unknown      bool // a write of which nobody knows whether it took effect
}

func (o Op) String() string {
	verb, end := "read", o.Return.String()
	if o.Write {
		verb = "wrote"
	}
	if o.Unknown {
		end = "?"
	}
	return fmt.Sprintf("client %d %s %d, %v to %s", o.Client, verb, o.Value, o.Call, end)
}

// History is the operations of several clients. Its methods are safe for concurrent use.
type History struct {
	began time.Time
	most  int

	mu  sync.Mutex
	ops []Op
}

// NewHistory records up to a number of operations.
func NewHistory(most int) *History { return &History{began: time.Now(), most: most} }

// Now is the time of the history, for Op.Call.
func (h *History) Now() time.Duration { return time.Since(h.began) }

// Done records an operation that has just ended; its Return is set here. It fails with ErrFull.
func (h *History) Done(op Op) error {
	op.Return = h.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.ops) >= h.most {
		return fmt.Errorf("%w: %d operations", ErrFull, h.most)
	}
	h.ops = append(h.ops, op)
	return nil
}

// Ops is what was recorded so far.
func (h *History) Ops() []Op {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.ops)
}

// register is one block, as porcupine wants it told: the state is the value.
var register = porcupine.Model{
	Init: func() any { return uint64(0) },
	Step: func(state, input, output any) (bool, any) {
		if op := input.(Op); op.Write {
			return true, op.Value
		}
		return state == output, state
	},
	Hash: func(state any) uint64 { return state.(uint64) },
}

// Check judges operations, block by block, and takes limit at most for each.
func Check(ops []Op, limit time.Duration) error {
	blocks := map[uint64][]porcupine.Operation{}
	for _, op := range ops {
		end := int64(op.Return)
		if op.Unknown {
			end = math.MaxInt64
		}
		blocks[op.Block] = append(blocks[op.Block], porcupine.Operation{ClientId: op.Client,
			Input: op, Output: op.Value, Call: int64(op.Call), Return: end})
	}
	var errs []error
	for block, history := range blocks {
		switch porcupine.CheckOperationsTimeout(register, history, limit) {
		case porcupine.Illegal:
			errs = append(errs, fmt.Errorf("%w: block %d: %s", ErrViolated, block,
				suspects(history)))
		case porcupine.Unknown:
			errs = append(errs, fmt.Errorf("%w: block %d, %d operations", ErrUnknown, block,
				len(history)))
		}
	}
	return errors.Join(errs...)
}

// suspects are the last operations of the shortest beginning of a history that is no longer
// possible: what went wrong shows there.
func suspects(history []porcupine.Operation) string {
	const shown = 12
	slices.SortFunc(history, func(a, b porcupine.Operation) int {
		return int(min(max(a.Return-b.Return, -1), 1))
	})
	low, high := 0, len(history)
	for low < high {
		mid := (low + high) / 2
		if porcupine.CheckOperations(register, upTo(history, mid)) {
			low = mid + 1
		} else {
			high = mid
		}
	}
	text := ""
	for _, op := range history[max(0, low-shown):min(low, len(history))] {
		text += "\n    " + op.Input.(Op).String()
	}
	return text
}

// upTo is the first n operations to end, and the writes that were under way then: what these read
// may be theirs.
func upTo(history []porcupine.Operation, n int) []porcupine.Operation {
	part := slices.Clone(history[:n])
	for _, op := range history[n:] {
		if op.Input.(Op).Write {
			op.Return = math.MaxInt64
			part = append(part, op)
		}
	}
	return part
}
