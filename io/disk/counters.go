package disk

import "sync/atomic"

// counters are the Stats of a real disk.
type counters struct {
	reads, writes, durable, syncs atomic.Uint64
	readBytes, writeBytes         atomic.Uint64
	submits, submitted, errors    atomic.Uint64
}

func (c *counters) read(n int) {
	c.reads.Add(1)
	c.readBytes.Add(uint64(n))
}

func (c *counters) write(n int, durable bool) {
	if durable {
		c.durable.Add(1)
	} else {
		c.writes.Add(1)
	}
	c.writeBytes.Add(uint64(n))
}

func (c *counters) stats() Stats {
	return Stats{
		Reads: c.reads.Load(), Writes: c.writes.Load(),
		DurableWrites: c.durable.Load(), Syncs: c.syncs.Load(),
		ReadBytes: c.readBytes.Load(), WriteBytes: c.writeBytes.Load(),
		Submits: c.submits.Load(), Submitted: c.submitted.Load(),
		Errors: c.errors.Load(),
	}
}
