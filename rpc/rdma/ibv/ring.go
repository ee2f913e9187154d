//go:build rdma && cgo && linux

package ibv

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
)

// sendMark in the id that the card carries tells sends from receives: a completion that failed says
// nothing else of what it was.
const sendMark = 1 << 63

// sendRing remembers what is in a send queue. Sends complete in order, so the n-th has place n
// modulo the depth and one completion frees every place up to its own, those without a completion
// too.
type sendRing struct {
	slots  []sendSlot
	posted atomic.Uint64 // all before it have their slot; written under the queue pair's lock
	done   atomic.Uint64 // all before it are complete
}

type sendSlot struct {
	id     uint64
	bytes  int
	op     verbs.Op
	hidden bool // the caller was told that it was not taken
}

func newSendRing(depth int) *sendRing { return &sendRing{slots: make([]sendSlot, depth)} }

// room returns how many more fit.
func (r *sendRing) room() int {
	return len(r.slots) - int(r.posted.Load()-r.done.Load())
}

// put takes the next place and returns the id for the card. There must be room.
func (r *sendRing) put(s sendSlot) uint64 {
	n := r.posted.Load()
	r.slots[n%uint64(len(r.slots))] = s
	r.posted.Store(n + 1)
	return sendMark | n
}

// unput gives the last n places back: the card did not take them.
func (r *sendRing) unput(n int) { r.posted.Store(r.posted.Load() - uint64(n)) }

// hide has the last n complete unseen.
func (r *sendRing) hide(n int) {
	end := r.posted.Load()
	for i := end - uint64(n); i < end; i++ {
		r.slots[i%uint64(len(r.slots))].hidden = true
	}
}

// complete frees the places up to that of a completion and returns what was there.
func (r *sendRing) complete(id uint64) (sendSlot, bool) {
	n := id &^ sendMark
	if n < r.done.Load() || n >= r.posted.Load() {
		return sendSlot{}, false
	}
	s := r.slots[n%uint64(len(r.slots))]
	r.done.Store(n + 1)
	return s, !s.hidden
}

// recvTable remembers the ids of posted receives, which complete in any order when queue pairs
// share them.
type recvTable struct {
	mu   sync.Mutex
	ids  []uint64
	free []uint32
}

func newRecvTable(depth int) *recvTable {
	t := &recvTable{ids: make([]uint64, depth), free: make([]uint32, depth)}
	for i := range t.free {
		t.free[i] = uint32(depth - 1 - i)
	}
	return t
}

// put takes a place for a receive; the caller holds the lock.
func (t *recvTable) put(id uint64) uint64 {
	place := t.free[len(t.free)-1]
	t.free = t.free[:len(t.free)-1]
	t.ids[place] = id
	return uint64(place)
}

// complete frees a place and returns the id that it was taken for.
func (t *recvTable) complete(place uint64) (uint64, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if place >= uint64(len(t.ids)) {
		return 0, false
	}
	t.free = append(t.free, uint32(place))
	return t.ids[place], true
}

// full says which queue has no room, and how much it has.
func full(queue string, want, depth int) error {
	return fmt.Errorf("%w: %d more in the %s queue of %d", verbs.ErrFull, want, queue, depth)
}
