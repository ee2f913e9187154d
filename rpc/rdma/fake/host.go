package fake

import (
	"fmt"
	"net/netip"
	"unsafe"

	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
)

// Card is one card of a host.
type Card struct {
	Name string
	Addr netip.Addr
	// Caps; the zero value means DefaultCaps.
	Caps verbs.Caps
}

// DefaultCaps is what a card can do that was not told.
var DefaultCaps = verbs.Caps{QPs: 4096, CQs: 256, MRs: 256, SRQs: 64, Windows: 1 << 16, Depth: 4096,
	CQDepth: 32767, SGEs: 16, Reads: 16, TypeTwo: true}

// Host is a machine with cards; it implements verbs.Provider.
type Host struct {
	net      *Network
	cards    []Card
	contexts []*context
	silent   bool
}

// Host adds a machine to the network.
func (n *Network) Host(cards ...Card) *Host {
	h := &Host{net: n, cards: cards}
	for i := range h.cards {
		if h.cards[i].Caps == (verbs.Caps{}) {
			h.cards[i].Caps = DefaultCaps
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts = append(n.hosts, h)
	return h
}

// Silence makes the machine fall silent as one that lost its power: it does nothing any more and
// answers nobody.
func (h *Host) Silence() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.silent = true
	h.net.work.Broadcast()
}

// Devices implements verbs.Provider.
func (h *Host) Devices() ([]verbs.Device, error) {
	var out []verbs.Device
	for _, c := range h.cards {
		out = append(out, device(c))
	}
	return out, nil
}

func device(c Card) verbs.Device {
	return verbs.Device{Name: c.Name, Transport: "RoCE v2", Caps: c.Caps, Ports: []verbs.Port{{
		Number: 1, Active: true, State: "active", LinkLayer: "Ethernet", NetDev: c.Name + "n",
		MTU: 4096, GIDs: []verbs.GID{{Index: 1, Type: "RoCE v2", Addr: c.Addr}}}}}
}

// Open implements verbs.Provider.
func (h *Host) Open(name string) (verbs.Context, error) {
	for _, c := range h.cards {
		if c.Name == name || name == "" && len(h.cards) == 1 {
			x := &context{net: h.net, host: h, card: c, qps: map[uint32]*qp{},
				regions: map[uint32]*region{}, windows: map[uint32]*window{}}
			h.net.mu.Lock()
			h.contexts = append(h.contexts, x)
			h.net.mu.Unlock()
			return x, nil
		}
	}
	return nil, fmt.Errorf("%w: %q", verbs.ErrNoDevice, name)
}

// context implements verbs.Context.
type context struct {
	net     *Network
	host    *Host
	card    Card
	qps     map[uint32]*qp
	regions map[uint32]*region
	windows map[uint32]*window // by the key without its variant
	pinned  int64
	objects int // queues and listeners
}

func (x *context) Device() verbs.Device { return device(x.card) }

func (x *context) Close() error {
	x.net.mu.Lock()
	defer x.net.mu.Unlock()
	if len(x.qps) > 0 || len(x.regions) > 0 || x.objects > 0 {
		panic(fmt.Sprintf("fake: context closed with %d queue pairs, %d regions, %d queues",
			len(x.qps), len(x.regions), x.objects))
	}
	h := x.host
	for i, c := range h.contexts {
		if c == x {
			h.contexts = append(h.contexts[:i], h.contexts[i+1:]...)
			break
		}
	}
	return nil
}

// region implements verbs.Region.
type region struct {
	x   *context
	mem []byte
	key uint32
}

func (x *context) Register(mem []byte) (verbs.Region, error) {
	x.net.mu.Lock()
	defer x.net.mu.Unlock()
	if most := x.net.faults.MaxPinned; most > 0 && x.pinned+int64(len(mem)) > most {
		return nil, fmt.Errorf("%w: %d bytes more than %d", verbs.ErrMemlock, len(mem), most)
	}
	r := &region{x: x, mem: mem, key: x.net.newKey()}
	x.pinned += int64(len(mem))
	x.regions[r.key] = r
	x.net.counts.Regions++
	return r, nil
}

// newKey is a key whose low byte is the variant of a window.
func (n *Network) newKey() uint32 {
	n.nextKey += 1 + uint32(n.rng.IntN(7))
	return n.nextKey << 8
}

func (r *region) Key() uint32 { return r.key }

func (r *region) Close() error {
	r.x.net.mu.Lock()
	defer r.x.net.mu.Unlock()
	if r.x.regions[r.key] == nil {
		return verbs.ErrClosed
	}
	delete(r.x.regions, r.key)
	r.x.pinned -= int64(len(r.mem))
	r.x.net.counts.Regions--
	return nil
}

func address(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }

// covers reports whether the region of the key holds all of mem.
func (x *context) covers(key uint32, mem []byte) bool {
	r := x.regions[key]
	return r != nil && (len(mem) == 0 || address(mem) >= address(r.mem) &&
		address(mem)+uint64(len(mem)) <= address(r.mem)+uint64(len(r.mem)))
}
