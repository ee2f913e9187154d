package rdma

import "sync/atomic"

// counters are those of a device: of all its connections, dialled and accepted.
type counters struct {
	open, accepted, refused, overloaded, lost, bad        atomic.Int64
	copies, copied, pulled, pushed, binds, bound          atomic.Int64
	stalls, dones, broken, posts, requests, polls, sleeps atomic.Int64
	frames                                                atomic.Int64
}

// Stats is a snapshot of a device's counters.
type Stats struct {
	// Open is the accepted connections now, Accepted those since the start, Refused those that were
	// not let in, Bad those closed for what the peer did.
	Open, Accepted, Refused, Bad int64
	// Overloaded counts requests answered with StatusOverloaded because no buffer was free for
	// their payload, Lost the one-way frames dropped for it.
	Overloaded, Lost int64
	// Copies counts payloads that this side copied because they were not in the pool, and
	// CopiedBytes their bytes. PulledBytes were read from peers, PushedBytes written to peers.
	Copies, CopiedBytes, PulledBytes, PushedBytes int64
	// Binds counts windows opened, WindowsBound is those open now.
	Binds, WindowsBound int64
	// CreditWaits counts frames that had to wait for the peer, a window or the card. Dones counts
	// messages that only gave credits back or told what was taken.
	CreditWaits, Dones int64
	// Broken counts queue pairs that ended by an error of the card or without a word of the peer.
	Broken int64
	// Frames is the frames received. Posts is calls that gave the card requests, Requests those
	// requests, Polls the times that completions were found, Sleeps those a loop had nothing to do.
	Frames, Posts, Requests, Polls, Sleeps int64
}

func (c *counters) stats() Stats {
	return Stats{
		Open: c.open.Load(), Accepted: c.accepted.Load(), Refused: c.refused.Load(),
		Bad: c.bad.Load(), Overloaded: c.overloaded.Load(), Lost: c.lost.Load(),
		Copies: c.copies.Load(), CopiedBytes: c.copied.Load(), PulledBytes: c.pulled.Load(),
		PushedBytes: c.pushed.Load(), Binds: c.binds.Load(), WindowsBound: c.bound.Load(),
		CreditWaits: c.stalls.Load(), Dones: c.dones.Load(), Broken: c.broken.Load(),
		Frames: c.frames.Load(), Posts: c.posts.Load(), Requests: c.requests.Load(),
		Polls: c.polls.Load(), Sleeps: c.sleeps.Load(),
	}
}
