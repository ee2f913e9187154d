package remote

// clock turns times of another machine into those of this one. It is pure: times come in.
type clock struct {
	same   bool  // one machine: nothing to turn
	ahead  int64 // how far the other clock was ahead of this one at the beginning, in ns
	drift  int64 // and how much further it is now
	first  int64 // how long the quickest frame of the first window was under way, in ns
	least  int64 // of the window that is open
	frames int
	closed bool // the first window is
}

// asked is one answer to the question for the other clock.
type asked struct {
	sent, came int64 // by this clock
	now        int64 // by the other one
}

// newClock takes the answer that was under way the shortest: the other clock was read somewhere in
// between, and most likely in the middle.
func newClock(answers []asked) clock {
	best := answers[0]
	for _, a := range answers[1:] {
		if a.came-a.sent < best.came-best.sent {
			best = a
		}
	}
	return clock{ahead: best.now - (best.sent + (best.came-best.sent)/2)}
}

// here is a time of the other machine by this one's clock.
func (c *clock) here(there int64) int64 {
	if c.same {
		return there
	}
	return there - c.ahead - c.drift
}

// frame is told that a frame that was sent at a time of the other clock came at one of this. Under
// way it was as long as the network took, and longer where the other clock has fallen behind.
func (c *clock) frame(sent, came int64) {
	under := came - (sent - c.ahead)
	if c.frames == 0 || under < c.least {
		c.least = under
	}
	if c.frames++; c.frames < clockWindow {
		return
	}
	if !c.closed {
		c.first, c.closed = c.least, true
	}
	c.drift, c.frames = c.first-c.least, 0
}
