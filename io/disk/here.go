package disk

import "time"

// flushHere is flush for a caller that waits for its one operation. At depth one a completion
// otherwise wakes the harvester, which wakes who asked: two hand-overs, each as long as a third of
// a read from a good device.
//
// The caller reaps in the harvester's place, and only while that is parked, so that one goroutine
// at a time does. It gives up after HereWait, and then does not try again for a while: a device
// that is slow must not hold up an event loop.
func (e *ringEngine) flushHere() {
	e.mu.Lock()
	began, ok := e.mayWait()
	if !ok {
		e.sendAll()
		e.mu.Unlock()
		return
	}
	e.guest = true
	op := e.slots[e.prepared[0]]
	e.sendAll()
	sent := e.inflight > 0
	e.mu.Unlock()
	done := sent && e.await(op, began.Add(HereWait))
	e.mu.Lock()
	e.guest = false
	if done {
		e.reaped++
		e.late = 0
	} else {
		e.notHere = began.Add(hereRest(e.late))
		e.late++
	}
	if e.inflight > 0 || e.send || e.direct.len > 0 || e.stopped {
		e.wake.Signal()
	}
	e.mu.Unlock()
}

// hereRest is for how long nobody waits after an operation that took too long, when so many in a
// row had before.
func hereRest(before int) time.Duration {
	return min(hereAgain<<min(before, 16), hereAgainMax)
}

// mayWait reports whether the caller of flushHere is to wait, and if so since when it does. Called
// with the lock held.
func (e *ringEngine) mayWait() (began time.Time, ok bool) {
	if len(e.prepared) != 1 || e.inflight > 0 || e.waiting.len > 0 || e.direct.len > 0 {
		e.lone = 0
		return began, false
	}
	e.lone++
	if e.lone < hereAfter || !e.parked || e.guest || e.stopped || !e.ring.Timed() {
		return began, false
	}
	began = time.Now()
	return began, !began.Before(e.notHere)
}

// await reaps until mine is done; false when it is not in time.
func (e *ringEngine) await(mine *Op, until time.Time) bool {
	for {
		if n := e.ring.Reap(e.cqes[:]); n > 0 {
			if e.complete(e.cqes[:n], mine) {
				return true
			}
			continue
		}
		left := time.Until(until)
		if left <= 0 || e.ring.WaitFor(left) != nil {
			return false
		}
	}
}
