package transport

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// Names of transports, as a Meter has them.
const (
	NameTCP  = "tcp"
	NameUnix = "unix"
	NameRDMA = "rdma"
)

// Meter counts what passes connections, for each transport. Those that have the same one in their
// Config add up. The zero value is ready; a nil one counts for nobody.
type Meter struct {
	mu  sync.Mutex
	all map[string]*Counts
}

// Counts are those of one transport. Connections add to them.
type Counts struct {
	Open, Made atomic.Int64
	// Fallbacks counts the connections that were to have another transport, Broken those that a
	// card gave up.
	Fallbacks, Broken atomic.Int64
	Received, Sent    FlowCounts
	// ZeroCopy counts zero-copy sends, KernelCopied those of them that the kernel copied.
	ZeroCopy, KernelCopied atomic.Int64
}

// FlowCounts are those of payloads one way.
type FlowCounts struct{ Payloads, Bytes, Copied atomic.Int64 }

// Traffic is a snapshot of Counts.
type Traffic struct {
	Transport string
	Open      int64 // connections now
	Made      int64 // connections since the start
	Fallbacks int64 // of them, because a better transport was not to be had
	Broken    int64 // of them, given up by the card
	Received  Flow
	Sent      Flow
	// ZeroCopy is the number of zero-copy sends, KernelCopied of those that the kernel copied.
	ZeroCopy, KernelCopied int64
}

// Flow is the payloads one way: their number, their bytes, and how often a byte of them was copied
// in user space by this process, on its way between the card or the kernel and the pool. Payload
// that lies in its buffer when it is received, or leaves from where it is, adds nothing to Copied.
type Flow struct{ Payloads, Bytes, Copied int64 }

// Of gives the counts of a transport.
func (m *Meter) Of(name string) *Counts {
	if m == nil {
		return new(Counts)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.all[name]
	if c == nil {
		if m.all == nil {
			m.all = map[string]*Counts{}
		}
		c = new(Counts)
		m.all[name] = c
	}
	return c
}

// Read takes a snapshot of each transport that ever had a connection or a listener, by name.
func (m *Meter) Read() []Traffic {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]Traffic, 0, len(m.all))
	for _, name := range slices.Sorted(maps.Keys(m.all)) {
		c := m.all[name]
		out = append(out, Traffic{Transport: name, Open: c.Open.Load(), Made: c.Made.Load(),
			Fallbacks: c.Fallbacks.Load(), Broken: c.Broken.Load(),
			Received: c.Received.read(), Sent: c.Sent.read(),
			ZeroCopy: c.ZeroCopy.Load(), KernelCopied: c.KernelCopied.Load()})
	}
	return out
}

func (f *FlowCounts) read() Flow {
	return Flow{Payloads: f.Payloads.Load(), Bytes: f.Bytes.Load(), Copied: f.Copied.Load()}
}

// Add counts payloads.
func (f *FlowCounts) Add(x Flow) {
	if x.Payloads == 0 && x.Bytes == 0 && x.Copied == 0 {
		return
	}
	f.Payloads.Add(x.Payloads)
	f.Bytes.Add(x.Bytes)
	f.Copied.Add(x.Copied)
}

// Named is a connection that knows its transport.
type Named interface{ Transport() string }

// NameOf is the name of a connection's transport.
func NameOf(c Conn) string {
	if n, ok := c.(Named); ok {
		return n.Transport()
	}
	return NameTCP
}
