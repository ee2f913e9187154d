package server

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// An event is what an operator wants to read afterwards: what became of a node, a disk, a volume,
// and when. The newest maxEvents are kept in the metadata.
//
// An event of a change of the metadata is written in that change's own transaction, so that there
// is one exactly where there is the other. What is only noticed (a node is silent, a disk is full)
// waits for the next transaction, whoever's it is, and FlushInterval at most: however many events
// there are, they cost no commits of their own but one in each FlushInterval. A control plane that
// is killed meanwhile loses those; the states that they told of show again by themselves.

// The severities of events.
const (
	eventInfo    = "info"
	eventWarning = "warning" // something is worse than it should be; nobody has to hurry
	eventError   = "error"   // data or service may be lost if nobody does anything
)

// The objects of events.
const (
	aCluster = "cluster"
	aNode    = "node"
	aStore   = "store"
	aCopyset = "copyset"
	aVolume  = "volume"
)

// The kinds of events of nodes; those of stores are storeKind and the state.
const (
	nodeUp      = "node-up"
	nodeOffline = "node-offline"
	storeKind   = "store-"

	metadataFailing = "metadata-failing"
)

// news makes an event when a transaction has numbered what it tells of.
type news func() *meta.Event

// journal is the events in memory.
type journal struct {
	ring    []*meta.Event // those that are written down, oldest first
	pending []*meta.Event // those that are not, without numbers
	dropped int           // had no room in pending
}

func newEvent(severity, kind, object string, id uint64, name, format string, args ...any,
) *meta.Event {
	return &meta.Event{Severity: severity, Kind: kind, Object: object, ObjectID: id,
		Name: clip(name, maxPathBytes), Text: clip(fmt.Sprintf(format, args...), maxTextBytes)}
}

// volumeNews is an event of a volume that the transaction writes.
func volumeNews(kind string, vol *v1.Volume, format string, args ...any) news {
	return func() *meta.Event {
		return newEvent(eventInfo, kind, aVolume, vol.VolumeId, vol.Name, format, args...)
	}
}

// tell notes an event that no transaction of its own goes with.
func (c *cluster) tell(e *meta.Event) {
	e.TimeNS = c.cfg.Now().UnixNano()
	if len(c.journal.pending) >= maxPendingEvents {
		c.journal.dropped++
		return
	}
	c.journal.pending = append(c.journal.pending, e)
}

// batch numbers what the next transaction writes: some of what waits, and its own news. taken is
// how many of the former.
func (j *journal) batch(own []news, now time.Time) (batch []*meta.Event, taken int) {
	if j.dropped > 0 && len(j.pending) < maxPendingEvents {
		e := newEvent(eventWarning, "events-dropped", aCluster, 0, "", "%d events came too fast "+
			"to be recorded", j.dropped)
		e.TimeNS = now.UnixNano()
		j.pending, j.dropped = append(j.pending, e), 0
	}
	taken = min(len(j.pending), maxEventsPerCommit)
	for _, e := range j.pending[:taken] {
		numbered := *e
		batch = append(batch, &numbered)
	}
	for _, make := range own {
		e := make()
		e.TimeNS = now.UnixNano()
		batch = append(batch, e)
	}
	last := uint64(0)
	if len(j.ring) > 0 {
		last = j.ring[len(j.ring)-1].EventID
	}
	for i, e := range batch {
		e.EventID = last + uint64(i) + 1
	}
	return batch, taken
}

// old is how many events at the beginning of the ring have to go for others to have room.
func (j *journal) old(more int) int { return max(0, len(j.ring)+more-maxEvents) }

// write puts a batch into a transaction.
func (j *journal) write(tx meta.Tx, batch []*meta.Event) error {
	for _, e := range batch {
		if err := meta.Events.Put(tx, meta.ID(e.EventID), e); err != nil {
			return err
		}
	}
	for _, e := range j.ring[:j.old(len(batch))] {
		if err := meta.Events.Delete(tx, meta.ID(e.EventID)); err != nil {
			return err
		}
	}
	return nil
}

// written takes a batch into memory that was committed.
func (j *journal) written(batch []*meta.Event, taken int) {
	j.ring = append(slices.Delete(j.ring, 0, j.old(len(batch))), batch...)
	j.pending = slices.Delete(j.pending, 0, taken)
}

// loadEvents reads the ring, and from it what was last told of each node and store.
func (c *cluster) loadEvents(r meta.Reader) error {
	ring, err := meta.Events.All(r)
	if err != nil {
		return err
	}
	c.journal.ring = ring
	for _, e := range ring {
		switch {
		case e.Object == aNode && c.nodes[e.ObjectID] != nil &&
			(e.Kind == nodeUp || e.Kind == nodeOffline):
			c.nodes[e.ObjectID].told = e.Kind
		case e.Object == aStore && c.stores[e.ObjectID] != nil:
			c.stores[e.ObjectID].told = e.Kind
		}
	}
	return nil
}

// tellNode tells when a node comes or goes. After a start of the control plane nodes have the time
// to be heard of before they count as gone.
func (c *cluster) tellNode(n *node, now time.Time) {
	rec := n.rec
	switch up := c.up(n, now); {
	case up && n.told != nodeUp:
		c.tell(newEvent(eventInfo, nodeUp, aNode, rec.NodeId, rec.Name, "node %s (%s) is up",
			rec.Name, rec.Addr))
		n.told = nodeUp
	case !up && n.told != nodeOffline &&
		(!n.heard.IsZero() || now.Sub(c.started) >= c.cfg.OfflineAfter):
		since := n.heard
		if since.IsZero() {
			since = c.started
		}
		c.tell(newEvent(eventWarning, nodeOffline, aNode, rec.NodeId, rec.Name, "node %s (%s) is "+
			"offline: nothing heard for %s", rec.Name, rec.Addr, ago(now, since)))
		n.told = nodeOffline
	}
}

// severities of the states of stores; those that are not here are warnings.
var severities = map[string]string{stateUp: eventInfo, stateFailed: eventError}

// tellStores tells when the state of a store changes while its node is up. That a store is up is
// news only after something else was told of it.
func (c *cluster) tellStores(now time.Time) {
	for _, id := range sortedIDs(c.stores) {
		s := c.stores[id]
		if !c.up(c.nodes[s.rec.NodeId], now) {
			continue
		}
		state, detail := c.storeUp(s, now)
		kind := storeKind + state
		if s.told == kind || s.told == "" && state == stateUp {
			s.told = kind
			continue
		}
		s.told = kind
		if detail != "" {
			detail = ": " + detail
		}
		c.tell(newEvent(cmp.Or(severities[state], eventWarning), kind, aStore, id, s.rec.Path,
			"store %d (%s on node %s) is %s%s", id, s.rec.Path, c.nodes[s.rec.NodeId].rec.Name,
			state, detail))
	}
}

// tellMetadata tells that the metadata could not be written; once, until it can be again.
func (c *cluster) tellMetadata(err error) {
	if !c.journal.failing() {
		c.tell(newEvent(eventError, metadataFailing, aCluster, 0, "", "the metadata could not be "+
			"written: %v", err))
	}
}

// failing says whether a failure of the metadata was told and is not written yet.
func (j *journal) failing() bool {
	return slices.ContainsFunc(j.pending, func(e *meta.Event) bool {
		return e.Kind == metadataFailing
	})
}

// listEvents answers one page of the events, oldest first. Those that are not written down yet show
// as long as they cannot be, without a number.
func (c *cluster) listEvents(req *v1.ListEventsRequest) (*v1.ListEventsResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	j := &c.journal
	at, _ := slices.BinarySearchFunc(j.ring, req.AfterId, func(e *meta.Event, id uint64) int {
		return cmp.Compare(e.EventID, id+1)
	})
	size := pageSize(req.PageSize)
	resp := &v1.ListEventsResponse{}
	for _, e := range j.ring[at:] {
		if e.TimeNS < req.SinceUnixNs {
			continue
		}
		if len(resp.Events) == size {
			resp.More = true
			return resp, nil
		}
		resp.Events = append(resp.Events, show(e))
	}
	if c.failed != nil && req.AfterId == 0 {
		for _, e := range j.pending {
			resp.Events = append(resp.Events, show(e))
		}
	}
	return resp, nil
}

func show(e *meta.Event) *v1.Event {
	return &v1.Event{EventId: e.EventID, TimeUnixNs: e.TimeNS, Severity: e.Severity, Kind: e.Kind,
		Object: e.Object, ObjectId: e.ObjectID, Name: e.Name, Text: e.Text}
}
