package meta

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// snapshot is a state of etcd in which every transaction is carried out whole.
type snapshot struct {
	revision int64 // of etcd, for reads
	head     head
	headMod  int64 // etcd's revision of the head, for the condition of a commit
}

// snapshot reads the newest state. Where it finds a transaction in the journal it carries it out.
func (k *etcdKV) snapshot(ctx context.Context) (snapshot, error) {
	for {
		s, err := k.look(ctx)
		if err != nil || s.head.parts == 0 {
			return s, err
		}
		if err := k.finish(ctx, s); err != nil {
			return s, err
		}
	}
}

// look reads the head as it is now, whichever member answers.
func (k *etcdKV) look(ctx context.Context) (s snapshot, err error) {
	resp, err := try(ctx, "read the head",
		func(ctx context.Context) (*clientv3.GetResponse, error) {
			return k.cli.Get(ctx, k.key(etcdHeadKey))
		})
	if err != nil {
		return s, err
	}
	if len(resp.Kvs) == 0 {
		return s, fmt.Errorf("%w: %s is gone from etcd", ErrCorrupt, k.key(etcdHeadKey))
	}
	s.revision, s.headMod = resp.Header.Revision, resp.Kvs[0].ModRevision
	s.head, err = parseHead(resp.Kvs[0].Value)
	return s, err
}

// etcdReader reads at one revision.
type etcdReader struct {
	ctx      context.Context
	k        *etcdKV
	revision int64  // etcd's
	number   uint64 // of the last transaction that is seen
}

func (r etcdReader) Revision() (uint64, error) { return r.number, nil }

func (r etcdReader) Get(key []byte) ([]byte, error) {
	resp, err := try(r.ctx, fmt.Sprintf("get %q", key),
		func(ctx context.Context) (*clientv3.GetResponse, error) {
			return r.k.cli.Get(ctx, r.k.key(etcdData)+string(key), clientv3.WithRev(r.revision))
		})
	switch {
	case err != nil:
		return nil, err
	case len(resp.Kvs) == 0:
		return nil, ErrNotFound
	}
	return resp.Kvs[0].Value, nil
}

func (r etcdReader) Scan(prefix, from []byte, limit int, fn func(k, v []byte) error) error {
	n := 0
	return r.each(prefix, from, func(k, v []byte) (bool, error) {
		n++
		return limit <= 0 || n < limit, fn(k, v)
	})
}

// each calls fn for the keys with the prefix until it returns false, a page at a time.
func (r etcdReader) each(prefix, from []byte, fn func(k, v []byte) (bool, error)) error {
	if bytes.Compare(from, prefix) < 0 {
		from = prefix
	}
	data := r.k.key(etcdData)
	begin := data + string(from)
	end := string(prefixEnd([]byte(data + string(prefix))))
	for begin < end {
		kvs, more, err := r.k.page(r.ctx, begin, end, r.revision, etcdPage)
		if err != nil {
			return err
		}
		for _, kv := range kvs {
			if on, err := fn(kv.Key[len(data):], kv.Value); err != nil || !on {
				return err
			}
		}
		if !more {
			return nil
		}
		begin = string(kvs[len(kvs)-1].Key) + "\x00"
	}
	return nil
}

// page reads at most limit keys from begin on, before end, at a revision.
func (k *etcdKV) page(ctx context.Context, begin, end string, revision, limit int64) (
	kvs []*mvccpb.KeyValue, more bool, err error,
) {
	resp, err := try(ctx, fmt.Sprintf("scan from %q", begin),
		func(ctx context.Context) (*clientv3.GetResponse, error) {
			return k.cli.Get(ctx, begin, clientv3.WithRange(end), clientv3.WithRev(revision),
				clientv3.WithLimit(limit))
		})
	if err != nil {
		return nil, false, err
	}
	return resp.Kvs, resp.More && len(resp.Kvs) > 0, nil
}

// etcdTx is what a transaction reads, with its own writes over it.
type etcdTx struct {
	etcdReader
	writes map[string]write
	bytes  int // of all writes, also of those that others replaced
	broken error
}

func (t *etcdTx) Put(key, value []byte) error {
	if err := checkEntry(key, value); err != nil {
		return err
	}
	t.note(write{key: bytes.Clone(key), value: append([]byte{}, value...)})
	return nil
}

func (t *etcdTx) Delete(key []byte) error {
	if err := checkEntry(key, nil); err != nil {
		return err
	}
	t.note(write{key: bytes.Clone(key), deleted: true})
	return nil
}

func (t *etcdTx) note(w write) {
	t.writes[string(w.key)] = w
	t.bytes += w.size()
}

func (t *etcdTx) Get(key []byte) ([]byte, error) {
	if w, own := t.writes[string(key)]; own {
		if w.deleted {
			return nil, ErrNotFound
		}
		return bytes.Clone(w.value), nil
	}
	v, err := t.etcdReader.Get(key)
	return v, t.mind(err)
}

// Scan merges the own writes, as they are now, into what was committed.
func (t *etcdTx) Scan(prefix, from []byte, limit int, fn func(k, v []byte) error) error {
	own := t.under(prefix, from)
	n := 0
	var failed error // of fn
	give := func(k, v []byte) bool {
		n++
		failed = fn(k, v)
		return failed == nil && (limit <= 0 || n < limit)
	}
	// upTo gives the own writes before a key; nil: all.
	upTo := func(key []byte) bool {
		for len(own) > 0 && (key == nil || bytes.Compare(own[0].key, key) < 0) {
			w := own[0]
			own = own[1:]
			if !w.deleted && !give(w.key, w.value) {
				return false
			}
		}
		return true
	}
	on := true
	err := t.etcdReader.each(prefix, from, func(k, v []byte) (bool, error) {
		if on = upTo(k); on && (len(own) == 0 || !bytes.Equal(own[0].key, k)) {
			on = give(k, v)
		}
		return on, nil
	})
	if err != nil {
		return t.mind(err)
	}
	if on {
		upTo(nil)
	}
	return failed
}

// under returns the own writes with the prefix from a key on, in order.
func (t *etcdTx) under(prefix, from []byte) (own []write) {
	for _, key := range slices.Sorted(maps.Keys(t.writes)) {
		w := t.writes[key]
		if bytes.HasPrefix(w.key, prefix) && bytes.Compare(w.key, from) >= 0 {
			own = append(own, w)
		}
	}
	return own
}

// mind remembers that a read failed: a transaction that read less than there is must not commit,
// also when its function overlooks the error.
func (t *etcdTx) mind(err error) error {
	if err != nil && err != ErrNotFound {
		t.broken = err
	}
	return err
}

// sorted returns the writes in the order of their keys.
func (t *etcdTx) sorted() []write { return t.under(nil, nil) }
