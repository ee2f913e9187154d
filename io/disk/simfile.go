package disk

import (
	"fmt"
)

// simFile is a handle on an inode.
type simFile struct {
	sim      *Sim
	node     *inode
	name     string
	closed   bool // guarded by sim.mu
	inflight int  // guarded by sim.mu
}

func (n *inode) block(i int64) *page {
	if p := n.current[i]; p != nil {
		return p
	}
	return &zeroPage
}

// Name implements File.
func (f *simFile) Name() string { return f.name }

// Size implements File.
func (f *simFile) Size() int64 { return f.node.size }

// ReadAt implements File.
func (f *simFile) ReadAt(p []byte, off int64) (int, error) {
	vec := [][]byte{p}
	want, err := checkVec(Read, f.name, vec, off, f.node.size)
	if err != nil {
		return 0, err
	}
	f.sim.wait(Read, f.node.name, off)
	return f.read(vec, off, want)
}

// WriteVec implements File.
func (f *simFile) WriteVec(vec [][]byte, off int64, durable bool) error {
	if _, err := checkVec(Write, f.name, vec, off, f.node.size); err != nil {
		return err
	}
	from, to, err := f.receive(vec, off)
	if err != nil {
		return err
	}
	f.sim.wait(Write, f.node.name, off)
	f.settleWrite(from, to, durable)
	return nil
}

// Sync implements File.
func (f *simFile) Sync() error {
	f.sim.mu.Lock()
	limit := f.sim.seq
	f.sim.mu.Unlock()
	f.sim.wait(Sync, f.node.name, 0)
	return f.sync(limit)
}

// Submit implements File. The queue has no bound: its memory is the caller's.
func (f *simFile) Submit(op *Op) {
	s := f.sim
	op.File, op.N, op.Err, op.state = f, 0, nil, opState{}
	op.state.want, op.Err = op.check(f.name, f.node.size)
	s.mu.Lock()
	defer s.mu.Unlock()
	f.inflight++
	s.inflight++
	s.queue = append(s.queue, op)
}

// Close implements File. With SimConfig.Inline it does not wait.
func (f *simFile) Close() error {
	s := f.sim
	s.Flush()
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.closed {
		return fmt.Errorf("%w: close %s", ErrClosed, f.name)
	}
	for f.inflight > 0 && !s.cfg.Inline {
		s.idle.Wait()
	}
	f.closed = true
	return nil
}

// read copies blocks out, up to what the fault hooks allow.
func (f *simFile) read(vec [][]byte, off int64, want int) (int, error) {
	limit, err := f.sim.readFault(f.node, off, want)
	if err != nil {
		return 0, err
	}
	s := f.sim
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := f.open(Read, off); err != nil {
		return 0, err
	}
	if err := f.node.latent(off, limit); err != nil {
		s.stats.Errors++
		return 0, err
	}
	n := 0
	for _, p := range vec {
		for len(p) > 0 && n < limit {
			k := min(BlockSize, limit-n)
			copy(p[:k], f.node.serve((off + int64(n)) / BlockSize)[:])
			p = p[k:]
			n += k
		}
	}
	s.stats.Reads++
	s.stats.ReadBytes += uint64(n)
	if n < want {
		s.stats.Errors++
		return n, short(Read, f.name, off, n, want)
	}
	return n, nil
}

// receive puts a write where reads see it; a power cut may still lose any of its sectors. It
// returns the range of its blocks' sequence numbers.
func (f *simFile) receive(vec [][]byte, off int64) (from, to uint64, err error) {
	s := f.sim
	if err := s.writeFault(f.node.name, off); err != nil {
		return 0, 0, err
	}
	target, keep := s.redirect(f.node.name, off)
	reads, stale := s.staleWrite(f.node.name, off)
	s.mu.Lock()
	if err := f.open(Write, off); err != nil {
		s.mu.Unlock()
		return 0, 0, err
	}
	length := int64(0)
	from = s.seq
	for _, p := range vec {
		for ; len(p) > 0; p = p[BlockSize:] {
			if block := (target + length) / BlockSize; keep {
				old := f.node.block(block)
				f.node.put(s.seq, block, (*page)(p))
				if stale {
					f.node.forget(block, old, reads)
				}
			}
			s.seq++
			length += BlockSize
		}
	}
	to = s.seq
	f.node.writeBack()
	s.stats.WriteBytes += uint64(length)
	name := f.node.name
	s.mu.Unlock()
	s.step(Step{Kind: StepWrite, Name: name, Off: off, Len: length})
	return from, to, nil
}

// settleWrite ends a write that was received.
func (f *simFile) settleWrite(from, to uint64, durable bool) {
	s := f.sim
	s.mu.Lock()
	defer s.mu.Unlock()
	if !durable {
		s.stats.Writes++
		return
	}
	s.stats.DurableWrites++
	f.node.settle(from, to)
}

// sync makes the blocks durable that were written before the sequence number.
func (f *simFile) sync(limit uint64) error {
	s := f.sim
	s.step(Step{Kind: StepSync, Name: f.node.name})
	if err := s.syncFault(f.node.name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := f.open(Sync, 0); err != nil {
		return err
	}
	s.stats.Syncs++
	f.node.settle(0, limit)
	return nil
}

// open reports whether the handle and its disk can be used. Called with the lock held.
func (f *simFile) open(kind Kind, off int64) error {
	if f.closed || f.sim.closed {
		return fmt.Errorf("%w: %v %s at offset %d", ErrClosed, kind, f.name, off)
	}
	return nil
}

func (n *inode) put(seq uint64, block int64, data *page) {
	if block < 0 || block*BlockSize >= n.size {
		return // a misdirected write that left the file
	}
	p := new(page)
	*p = *data
	delete(n.stale, block)
	n.current[block] = p
	n.unsynced = append(n.unsynced, pending{seq: seq, block: block, data: p})
}

// settle makes the pending blocks with from <= seq < to durable, and forgets older pending
// content of the same blocks.
func (n *inode) settle(from, to uint64) {
	last := map[int64]uint64{}
	for _, w := range n.unsynced {
		if w.seq >= from && w.seq < to {
			n.durable[w.block] = w.data
			n.heal(w.block)
			last[w.block] = w.seq
		}
	}
	kept := n.unsynced[:0]
	for _, w := range n.unsynced {
		if seq, ok := last[w.block]; !ok || w.seq > seq {
			kept = append(kept, w)
		}
	}
	clear(n.unsynced[len(kept):])
	n.unsynced = kept
}

// writeBack keeps the unsynced blocks bounded.
func (n *inode) writeBack() {
	if len(n.unsynced) > maxUnsynced {
		n.settle(0, n.unsynced[maxUnsynced/2].seq)
	}
}
