package client

import (
	"errors"
	"fmt"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// machine decides what becomes of one request: an operation or one piece of it, under one op id.
// It has no clock, no socket and no random source: time and jitter come with each event, what it
// wants comes back as an action. The shell (drive.go) owns it alone from event to action.
//
//	          start, go                 reply ok / final
//	[new] ------------------> [sent] --------------------> [finished]
//	           ^   ^            |  |
//	 wait over |   | leader     |  | redirect: sent at once to the hinted replica
//	           |   | or scout   |  |
//	      [waiting]  [parked] <-+  | overloaded, retry, bad data -> waiting
//	                               | no leader, lost, unavailable -> parked
//
// Parked requests belong to their copyset: one of them at a time is let go to ask the next replica,
// and all of them once one was served.
type machine struct {
	deadline int64 // ns on the client's clock
	cause    error // why it is not finished yet
	hops     uint8 // redirects followed since the last wait
	parks    uint16
	tries    uint16 // waits asked for by answers
	bad      uint8  // answers that only hope retries
}

type eventKind uint8

const (
	evStart   eventKind = iota // may be sent for the first time
	evGo                       // a wait is over, or a leader was found
	evScout                    // parked, and its turn to look for the leader
	evReply                    // an answer arrived
	evLost                     // the connection broke or could not be made
	evSilent                   // no answer for attemptTimeout, though the peer lives
	evBadData                  // the data of an answer did not match its checksums
)

const none = -1 // no replica

// event is what happened to a request. Replicas are indices into the view.
type event struct {
	kind       eventKind
	now        int64  // ns on the client's clock
	rand       uint32 // jitter
	from       int    // evReply, evLost, evSilent, evBadData: the replica asked, or none
	status     wire.Status
	hint       int  // evReply: the leader according to the answer, or none
	strange    bool // evReply: the answer names a leader that the mapping does not know
	retryAfter time.Duration
	text       string
}

// view is what the client knows of the copyset.
type view struct {
	replicas int
	leader   int    // none: unknown
	next     int    // whose turn it is to be asked by a scout
	down     uint32 // bit set: known to be unreachable
}

func (v *view) up(i int) bool { return i >= 0 && i < v.replicas && v.down&(1<<i) == 0 }

// after returns the first reachable replica in the order from, from+1, ..., or none.
func (v *view) after(from int) int {
	for k := range v.replicas {
		if i := (from + k) % v.replicas; v.up(i) {
			return i
		}
	}
	return none
}

type actionKind uint8

const (
	doSend actionKind = iota
	doPark
	doWait
	doFinish
)

// action is what the shell must do. At most one of served, deposed says something about the
// leader.
type action struct {
	kind    actionKind
	to      int           // doSend
	wait    time.Duration // doWait
	err     error         // doFinish; nil is success
	refresh bool          // ask the control plane for the copyset's members
	served  bool          // the replica that answered is the leader
	leads   bool          // it leads, or did a moment ago, and cannot serve yet
	deposed bool          // it is not; heir is the one it named, or none
	heir    int
}

func (m *machine) step(ev event, v view) action {
	switch ev.kind {
	case evReply:
		return m.reply(ev, v)
	case evLost:
		if ev.text != "" || !errors.Is(m.cause, errLost) { // a refusal says less than a loss
			m.cause = classed(errLost, ev.text)
		}
		a := m.park(ev, v)
		a.deposed, a.heir = true, none
		return a
	case evSilent:
		if m.late(ev) {
			if m.cause == nil { // what others said before tells more
				m.cause = errNoAnswer
			}
			return m.timeout()
		}
		m.cause = errNoAnswer
		// A replica that lost its leadership may have dropped the request: ask another, which
		// knows better or points back.
		if to := v.after(ev.from + 1); to != none {
			return action{kind: doSend, to: to}
		}
		return m.park(ev, v)
	case evBadData:
		return m.again(ev, maxChecksumTries, ErrChecksum)
	default:
		return m.depart(ev, v)
	}
}

// depart sends the request off, if it is known where to.
func (m *machine) depart(ev event, v view) action {
	m.hops = 0
	if m.late(ev) {
		return m.timeout()
	}
	if v.up(v.leader) {
		return action{kind: doSend, to: v.leader}
	}
	if ev.kind == evScout {
		if to := v.after(v.next); to != none {
			return action{kind: doSend, to: to}
		}
	}
	return m.park(ev, v)
}

func (m *machine) reply(ev event, v view) action {
	switch ev.status {
	case wire.StatusOK:
		return action{kind: doFinish, served: true}
	case wire.StatusNotLeader:
		m.cause = errNoLeader
		return m.redirect(ev, v)
	case wire.StatusUnavailable, wire.StatusWrongCopyset:
		m.cause = classed(ev.status.Err(), ev.text)
		a := m.redirect(ev, v)
		a.refresh = a.refresh || ev.status == wire.StatusWrongCopyset
		return a
	case wire.StatusOverloaded:
		m.cause = wire.ErrOverloaded
		wait := min(max(ev.retryAfter, retryMin), overloadMax)
		return m.wait(ev, wait+jitter(wait/2, ev.rand))
	case wire.StatusRetry:
		m.cause = wire.ErrRetry
		a := m.wait(ev, m.backoff(ev.rand))
		a.leads = true
		return a
	case wire.StatusChecksum:
		return m.again(ev, maxChecksumTries, ErrChecksum)
	case wire.StatusCorrupt:
		return m.again(ev, maxChecksumTries, ErrCorrupt)
	case wire.StatusInternal:
		return m.again(ev, maxInternalTries, ErrServer)
	default:
		return action{kind: doFinish, err: classed(finalClass(ev.status), ev.text)}
	}
}

// redirect follows a hint at once and otherwise leaves the request to the copyset's scouts.
func (m *machine) redirect(ev event, v view) action {
	a := action{}
	if v.up(ev.hint) && ev.hint != ev.from && m.hops < maxHops && !m.late(ev) {
		m.hops++
		a = action{kind: doSend, to: ev.hint, heir: ev.hint}
	} else {
		a = m.park(ev, v)
		a.heir = none
	}
	a.deposed = true
	a.refresh = a.refresh || ev.strange
	return a
}

// again is for answers that a repetition may cure, but not for ever.
func (m *machine) again(ev event, tries uint8, class error) action {
	m.bad++
	m.cause = classed(class, ev.text)
	if m.bad >= tries {
		return action{kind: doFinish, err: m.cause}
	}
	return m.wait(ev, m.backoff(ev.rand))
}

func (m *machine) park(ev event, v view) action {
	if m.late(ev) {
		return m.timeout()
	}
	if m.cause == nil && v.replicas == 0 {
		m.cause = errNoMapping
	}
	m.parks++
	// The mapping is suspect when nobody can be reached, or all were asked in vain.
	return action{kind: doPark, refresh: v.after(0) == none || int(m.parks) > v.replicas}
}

func (m *machine) wait(ev event, d time.Duration) action {
	if m.late(ev) {
		return m.timeout()
	}
	m.hops = 0
	return action{kind: doWait, wait: min(d, time.Duration(m.deadline-ev.now))}
}

func (m *machine) late(ev event) bool { return ev.now >= m.deadline }

func (m *machine) timeout() action {
	cause := m.cause
	if cause == nil {
		cause = errNoLeader
	}
	return action{kind: doFinish, err: fmt.Errorf("%w: %w", ErrTimeout, cause)}
}

func (m *machine) backoff(rand uint32) time.Duration {
	d := doubled(retryMin, retryMax, int(m.tries))
	if m.tries >= retryPatience {
		d = retryIdle
	}
	m.tries++
	return d/2 + jitter(d/2, rand)
}

// scoutDelay is the time to the next poll of a copyset without a leader, after polls in vain.
func scoutDelay(polls int, rand uint32) time.Duration {
	switch {
	case polls == 0:
		return 0
	case polls > scoutPatience:
		return scoutIdle/2 + jitter(scoutIdle/2, rand)
	}
	d := doubled(scoutMin, scoutMax, polls-1)
	return d/2 + jitter(d/2, rand)
}

// doubled is from*2^n, at most limit.
func doubled(from, limit time.Duration, n int) time.Duration {
	if n >= 16 {
		return limit
	}
	return min(from<<n, limit)
}

// jitter is a share of d: between 0 and d.
func jitter(d time.Duration, rand uint32) time.Duration {
	return time.Duration(uint64(d) * uint64(rand) >> 32)
}

func finalClass(s wire.Status) error {
	switch s {
	case wire.StatusStaleEpoch:
		return ErrFenced
	case wire.StatusOutOfRange:
		return ErrOutOfRange
	case wire.StatusNoSpace:
		return ErrNoSpace
	case wire.StatusBadRequest:
		return ErrInvalid
	default:
		return fmt.Errorf("%w: %w", ErrServer, s.Err())
	}
}

func classed(class error, text string) error {
	if text == "" {
		return class
	}
	return fmt.Errorf("%w: %s", class, text)
}
