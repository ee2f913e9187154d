package meta

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// feed is the one watch that a KV has in etcd; it fills the hub from the first Watch on.
type feed struct {
	mu      sync.Mutex
	running bool
}

// following is where the feed is in the history of etcd.
type following struct {
	next     int64             // revision of etcd
	revision uint64            // of the newest transaction seen
	held     map[string]Change // of one that is being carried out
	pending  bool
}

func (k *etcdKV) Watch(ctx context.Context, prefix []byte) (Watch, error) {
	if err := k.enter(ctx); err != nil {
		return nil, err
	}
	defer k.leave()
	s, err := k.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	w, err := k.hub.add(prefix, s.head.revision)
	if err != nil {
		return nil, err
	}
	k.feed.mu.Lock()
	defer k.feed.mu.Unlock()
	if !k.feed.running {
		k.feed.running = true
		k.work.Go(func() { k.follow(followFrom(s)) })
	}
	return w, nil
}

func followFrom(s snapshot) *following {
	return &following{next: s.revision + 1, revision: s.head.revision, held: map[string]Change{}}
}

// follow feeds the hub until Close. Where etcd has forgotten what comes next, every watch is told
// so, after the new beginning is known: what comes behind it is then told again.
func (k *etcdKV) follow(f *following) {
	for k.ctx.Err() == nil {
		err := k.stream(f)
		if !errors.Is(err, rpctypes.ErrCompacted) {
			pause(k.ctx, etcdPause)
			continue
		}
		k.log.Warn("etcd compacted what a watch has not seen", "from", f.next)
		for k.ctx.Err() == nil {
			if s, err := k.snapshot(k.ctx); err == nil {
				f = followFrom(s)
				k.hub.lag()
				break
			}
			pause(k.ctx, etcdWait)
		}
	}
}

// stream hands on what etcd tells until it stops.
func (k *etcdKV) stream(f *following) error {
	// A member that is cut off from the others must not look like one where nothing happens.
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(k.ctx))
	defer cancel()
	events := k.cli.Watch(ctx, k.prefix, clientv3.WithPrefix(), clientv3.WithRev(f.next))
	for resp := range events {
		if err := resp.Err(); err != nil {
			return err
		}
		// A response never ends inside a revision.
		for list := resp.Events; len(list) > 0; {
			n := 1
			for n < len(list) && list[n].Kv.ModRevision == list[0].Kv.ModRevision {
				n++
			}
			if err := k.take(f, list[:n]); err != nil {
				return err
			}
			list = list[n:]
		}
	}
	return k.ctx.Err()
}

// take hands on the events of one revision of etcd, or keeps those of a transaction that is not
// carried out whole.
func (k *etcdKV) take(f *following, events []*clientv3.Event) error {
	data := k.key(etcdData)
	for _, e := range events {
		key, isData := strings.CutPrefix(string(e.Kv.Key), data)
		if isData {
			f.held[key] = Change{Key: []byte(key), Value: append([]byte{}, e.Kv.Value...),
				Deleted: e.Type == clientv3.EventTypeDelete}
		}
		if string(e.Kv.Key) == k.key(etcdHeadKey) {
			h, err := parseHead(e.Kv.Value)
			if err != nil {
				return err
			}
			f.revision, f.pending = h.revision, h.parts > 0
		}
	}
	f.next = events[0].Kv.ModRevision + 1
	if f.pending || len(f.held) == 0 {
		return nil
	}
	changes := make([]Change, 0, len(f.held))
	for _, key := range slices.Sorted(maps.Keys(f.held)) {
		c := f.held[key]
		c.Revision = f.revision
		if c.Deleted {
			c.Value = nil
		}
		changes = append(changes, c)
	}
	clear(f.held)
	k.hub.publish(changes)
	return nil
}
