package load

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// napMax bounds one sleep of the pacer, so that it notices the end of a run.
const napMax = 10 * time.Millisecond

// pace starts operations of an open loop when they arrive, until the run ends. Those that find no
// free slot are started by completions.
func (r *run) pace() {
	restore := sharpTimer()
	defer restore()
	for {
		r.mu.Lock()
		ready, over := r.assign()
		next := r.arrive.next
		if over {
			r.closing = true
			r.tally.res.Unserved, r.tally.res.Dropped = int64(r.arrive.n), r.arrive.dropped
			r.live.Add(-len(r.free))
			r.free = nil
		}
		r.mu.Unlock()
		for _, s := range ready {
			s.prepare()
			s.drive()
		}
		if over {
			return
		}
		if d := time.Duration(next) - time.Duration(r.now()); d > 0 {
			nap(min(d, napMax))
		}
	}
}

// assign gives free slots what has arrived. r.mu is held.
func (r *run) assign() (ready []*slot, over bool) {
	now := r.now()
	if r.stop.Load() || r.closing {
		return nil, true
	}
	r.arrive.advance(now)
	for len(r.free) > 0 && r.arrive.n > 0 {
		s := r.free[len(r.free)-1]
		r.free = r.free[:len(r.free)-1]
		ok, _ := r.begin(s)
		if !ok {
			r.live.Done() // of s, which has left the free ones
			return ready, true
		}
		ready = append(ready, s)
	}
	return ready, now >= r.end || r.arrive.over() && r.arrive.n == 0
}

// sharpTimer makes short sleeps of this thread end on time: by default the kernel adds up to 50 us.
func sharpTimer() (restore func()) {
	runtime.LockOSThread()
	slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err == nil {
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	}
	return func() {
		if err == nil {
			_ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack), 0, 0, 0)
		}
		runtime.UnlockOSThread()
	}
}

// nap sleeps on the thread itself, which wakes nearer to its time than the runtime's timers do.
func nap(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &ts, nil) // a signal ends it early: no harm
}
