package disk

// Flush implements Disk. The operations run on the calling goroutine, in two passes: first
// the disk receives every write of the batch, then each operation completes in turn. So a
// power cut between them (see OnStep) finds all writes of the batch in flight at once.
//
// A Sync covers the writes that were complete before its batch was flushed, and no others:
// to rely on more is an error that the real disk would show only now and then.
func (s *Sim) Flush() {
	s.mu.Lock()
	if s.flushing { // the goroutine that flushes takes what was queued since
		s.mu.Unlock()
		return
	}
	s.flushing = true
	for len(s.queue) > 0 {
		batch := s.queue
		s.queue = nil
		s.stats.Submits++
		s.stats.Submitted += uint64(len(batch))
		limit := s.seq
		s.mu.Unlock()
		s.run(batch, limit)
		s.mu.Lock()
	}
	s.flushing = false
	s.mu.Unlock()
}

// FlushHere implements Disk.
func (s *Sim) FlushHere() { s.Flush() }

// AfterBatch implements Disk: completions come one by one, where a test wants them.
func (s *Sim) AfterBatch(func()) bool { return false }

func (s *Sim) run(batch []*Op, limit uint64) {
	for _, op := range batch {
		if op.Kind == Write && op.Err == nil {
			op.state.from, op.state.to, op.Err = op.File.(*simFile).receive(op.Vec, op.Off)
		}
	}
	answered := batch[:0]
	for _, op := range batch {
		if op.Err == nil {
			if s.hold(op, limit) {
				continue
			}
			s.complete(op, limit)
		}
		if s.cfg.Inline && !s.cfg.Reorder {
			s.finish(op)
			continue
		}
		answered = append(answered, op)
	}
	s.settleOps(answered)
}

// settleOps gives completed operations back to their callers.
func (s *Sim) settleOps(batch []*Op) {
	if len(batch) == 0 {
		return
	}
	if s.cfg.Reorder {
		s.mu.Lock()
		s.rng.Shuffle(len(batch), func(i, j int) { batch[i], batch[j] = batch[j], batch[i] })
		s.mu.Unlock()
	}
	if s.cfg.Inline {
		for _, op := range batch {
			s.finish(op)
		}
		return
	}
	s.mu.Lock()
	s.done = append(s.done, batch...)
	start := !s.deliver
	s.deliver = true
	s.mu.Unlock()
	if start {
		go s.deliverAll()
	}
}

// complete runs an operation; writes were received before.
func (s *Sim) complete(op *Op, limit uint64) {
	f := op.File.(*simFile)
	switch op.Kind {
	case Read:
		op.N, op.Err = f.read(op.Vec, op.Off, op.state.want)
	case Write:
		f.settleWrite(op.state.from, op.state.to, op.Durable)
		op.N = op.state.want
	case Sync:
		op.Err = f.sync(limit)
	}
}

// deliverAll calls Done until nothing is left to deliver.
func (s *Sim) deliverAll() {
	for {
		s.mu.Lock()
		batch := s.done
		s.done = nil
		if len(batch) == 0 {
			s.deliver = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		for _, op := range batch {
			s.finish(op)
		}
	}
}

// finish gives an operation back to its caller. It is counted out only after Done, so that
// Close returns when no Done is running; the op is the caller's from Done on.
func (s *Sim) finish(op *Op) {
	f := op.File.(*simFile)
	op.Done(op)
	s.mu.Lock()
	f.inflight--
	s.inflight--
	s.idle.Broadcast()
	s.mu.Unlock()
}
