package client

// attempt is the patience with a request that was sent and is not answered. Time alone does not
// tell how long the node has had it: on a slow line megabytes may lie before it, and before its
// answer. A ping passes behind them both ways. So there are two: one after arriveWithin, and when
// that is answered the request has arrived; one answerWithin later, and when that is answered the
// node has not. On a fast line it makes attemptTimeout and two ticks.
//
//	sent --arriveWithin--> ping --answered--> arrived --answerWithin--> ping --answered--> spent
type attempt struct {
	since   int64  // when it was sent, or found to have arrived, ns
	asking  bool   // it waits for the answer to a ping
	pings   uint64 // that were sent before that one
	arrived bool
}

// outlook is what is to be done for a request.
type outlook uint8

const (
	stays outlook = iota
	asks          // a ping is to be sent
	spent         // the node has it and does not answer
)

// look judges the attempt on a connection on which so many pings were sent and answered, one at a
// time. It is fed once per tick.
func (a *attempt) look(now int64, pinged, ponged uint64) outlook {
	switch {
	case a.asking && ponged <= a.pings:
		return asks
	case a.asking && a.arrived:
		return spent
	case a.asking:
		a.asking, a.arrived, a.since = false, true, now
		return stays
	}
	patience := arriveWithin
	if a.arrived {
		patience = answerWithin
	}
	if now-a.since < int64(patience) {
		return stays
	}
	a.asking, a.pings = true, pinged
	return asks
}
