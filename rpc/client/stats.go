package client

import (
	"sync/atomic"

	"github.com/ashlar-storage/ashlar/rpc/transport"
)

// Stats is a snapshot of a volume's counters since it was opened.
type Stats struct {
	Reads, Writes, Zeroes int64 // operations completed, failed ones included
	ReadBytes, WriteBytes int64 // of operations that succeeded
	Errors                int64 // operations that failed
	Timeouts              int64 // of those, by deadline
	Requests              int64 // frames sent, every attempt counted
	Redirects             int64 // answers that named another leader, or none
	Overloaded            int64 // answers that asked to wait
	Lost                  int64 // attempts ended by a broken connection
	Silent                int64 // attempts given up after 2 s without an answer
	CopiedBytes           int64 // read, and copied from their buffers to the caller's memory
	BadData               int64 // answers or requests whose data did not match its checksums
	Inflight              int   // operations now
	InflightBytes         int64
}

// NetStats is a snapshot of a client's connection counters.
type NetStats struct {
	Sends    int64 // vectored writes
	Messages int64 // frames in them
	Connects int64 // connections made
	Broken   int64 // connections lost
	Peers    int   // nodes known
}

// Traffic is what passed the client's connections, for each transport.
func (c *Client) Traffic() []transport.Traffic { return c.meter.Read() }

type counters struct {
	reads, writes, zeroes, readBytes, writeBytes, errors, timeouts atomic.Int64
	requests, redirects, overloaded, lost, silent, badData         atomic.Int64
	copied                                                         atomic.Int64
}

type netCounters struct {
	sends, messages, connects, broken atomic.Int64
}

// Stats returns the volume's counters.
func (v *Volume) Stats() Stats {
	c := &v.count
	ops, bytes := v.admit.load()
	return Stats{
		Reads: c.reads.Load(), Writes: c.writes.Load(), Zeroes: c.zeroes.Load(),
		ReadBytes: c.readBytes.Load(), WriteBytes: c.writeBytes.Load(),
		Errors: c.errors.Load(), Timeouts: c.timeouts.Load(),
		Requests: c.requests.Load(), Redirects: c.redirects.Load(),
		Overloaded: c.overloaded.Load(), Lost: c.lost.Load(), Silent: c.silent.Load(),
		CopiedBytes: c.copied.Load(),
		BadData:     c.badData.Load(), Inflight: ops, InflightBytes: bytes,
	}
}

// NetStats returns the client's connection counters.
func (c *Client) NetStats() NetStats {
	c.mu.Lock()
	peers := len(c.peers)
	c.mu.Unlock()
	n := &c.net
	return NetStats{
		Sends: n.sends.Load(), Messages: n.messages.Load(),
		Connects: n.connects.Load(), Broken: n.broken.Load(), Peers: peers,
	}
}
