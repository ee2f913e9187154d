package disk

// stall is a device that does not answer some operations for now.
type stall struct {
	match    func(kind Kind, name string, off int64) bool
	released chan struct{}
	held     []heldOp // submitted ones, guarded by the disk's lock
}

// heldOp is a submitted operation that is not answered yet.
type heldOp struct {
	op    *Op
	limit uint64 // of a Sync: what it covers
}

// Stall makes operations for which match returns true complete only when release is called: a
// blocking call blocks, a submitted one is not done. A write that is held has been received, so
// reads see it and a power cut may leave any of its sectors; it is durable only once it is done.
// Closing a file or the disk waits for what is held. Directory operations are never held. One
// stall at a time: another Stall releases the one before.
func (s *Sim) Stall(match func(kind Kind, name string, off int64) bool) (release func()) {
	st := &stall{match: match, released: make(chan struct{})}
	s.mu.Lock()
	before := s.stall
	s.stall = st
	s.mu.Unlock()
	if before != nil {
		s.release(before)
	}
	return func() { s.release(st) }
}

// release ends a stall and answers what it held, in order of submission.
func (s *Sim) release(st *stall) {
	s.mu.Lock()
	if s.stall == st {
		s.stall = nil
	}
	held := st.held
	st.held = nil
	select {
	case <-st.released: // released before
	default:
		close(st.released)
	}
	s.mu.Unlock()
	batch := make([]*Op, 0, len(held))
	for _, h := range held {
		s.complete(h.op, h.limit)
		batch = append(batch, h.op)
	}
	s.settleOps(batch)
}

// holding is the stall that an operation meets; nil: none.
func (s *Sim) holding(kind Kind, name string, off int64) *stall {
	s.mu.Lock()
	st := s.stall
	s.mu.Unlock()
	if st == nil || !st.match(kind, name, off) {
		return nil
	}
	return st
}

// wait blocks a blocking call while the device does not answer it.
func (s *Sim) wait(kind Kind, name string, off int64) {
	if st := s.holding(kind, name, off); st != nil {
		<-st.released
	}
}

// hold keeps a submitted operation back; false when it can go on.
func (s *Sim) hold(op *Op, limit uint64) bool {
	f := op.File.(*simFile)
	st := s.holding(op.Kind, f.node.name, op.Off)
	if st == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-st.released:
		return false
	default:
	}
	st.held = append(st.held, heldOp{op, limit})
	return true
}
