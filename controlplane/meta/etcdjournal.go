package meta

import (
	"context"
	"encoding/hex"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

// A transaction that is too large for one request of etcd goes through the journal: its writes are
// stored beside the data, where nobody reads them; one small commit, under the same conditions as
// any other, makes the head name them, and that is when it has taken place; then they are carried
// out, in any number of requests, by its author or by whoever comes next. Every request of that
// stands under the condition that the head is still the one that names the journal, so that one
// which comes late changes nothing. Nobody reads the data before the head says that all is done.

// stage stores the parts of a transaction and returns the conditions that they are still there.
func (k *etcdKV) stage(ctx context.Context, next *head, writes []write) ([]clientv3.Cmp, error) {
	parts := encodeParts(writes)
	next.parts = uint32(len(parts))
	conds := make([]clientv3.Cmp, len(parts))
	var group errgroup.Group
	group.SetLimit(journalWays)
	for i, part := range parts {
		key := k.partKey(next.commit, i)
		conds[i] = clientv3.Compare(clientv3.CreateRevision(key), ">", 0)
		group.Go(func() error {
			_, err := try(ctx, "stage a transaction",
				func(ctx context.Context) (*clientv3.PutResponse, error) {
					return k.cli.Put(ctx, key, string(part))
				})
			return err
		})
	}
	return conds, group.Wait()
}

// unstage removes the parts of a transaction that did not take place. What is left is swept later.
func (k *etcdKV) unstage(ctx context.Context, h head) {
	ctx, cancel := context.WithTimeout(ctx, etcdTry)
	defer cancel()
	_, err := k.cli.Delete(ctx, k.journal(h.commit), clientv3.WithPrefix())
	if err != nil {
		k.log.Debug("parts of a transaction are left in the journal", "error", err)
	}
}

func (k *etcdKV) journal(commit [16]byte) string {
	return k.key(etcdJournal) + hex.EncodeToString(commit[:]) + "/"
}

func (k *etcdKV) partKey(commit [16]byte, i int) string {
	return fmt.Sprintf("%s%04d", k.journal(commit), i)
}

// carryOut ends a transaction that was just committed. That it cannot is no error: it has taken
// place, and whoever reads next carries it out.
func (k *etcdKV) carryOut(ctx context.Context) {
	if _, err := k.snapshot(ctx); err != nil {
		k.log.Warn("a committed transaction waits in the journal", "error", err)
	}
}

// finish carries out the transaction in the journal.
func (k *etcdKV) finish(ctx context.Context, s snapshot) error {
	writes, err := k.readJournal(ctx, s)
	if err != nil {
		return err
	}
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(journalWays)
	for len(writes) > 0 {
		n := fit(writes)
		batch := k.ops(writes[:n])
		writes = writes[n:]
		group.Go(func() error { return k.underHead(inner, s, batch...) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	done := head{revision: s.head.revision, commit: s.head.commit}
	return k.underHead(ctx, s, clientv3.OpPut(k.key(etcdHeadKey), string(done.encode())),
		clientv3.OpDelete(k.journal(s.head.commit), clientv3.WithPrefix()))
}

// fit returns how many of the writes go in one request.
func fit(writes []write) int {
	size := 0
	for i, w := range writes {
		size += w.size()
		if i == etcdOps || i > 0 && size > etcdBytes {
			return i
		}
	}
	return len(writes)
}

// underHead carries ops out if the head is still that of s; if not, somebody else was quicker.
func (k *etcdKV) underHead(ctx context.Context, s snapshot, ops ...clientv3.Op) error {
	_, err := try(ctx, "carry out a transaction",
		func(ctx context.Context) (*clientv3.TxnResponse, error) {
			return k.cli.Txn(ctx).If(k.headIs(s.headMod)).Then(ops...).Commit()
		})
	return err
}

// readJournal returns all writes of the transaction that the head of s names.
func (k *etcdKV) readJournal(ctx context.Context, s snapshot) (all []write, err error) {
	parts := uint32(0)
	begin := k.journal(s.head.commit)
	end := string(prefixEnd([]byte(begin)))
	for more := true; more; {
		kvs, next, err := k.page(ctx, begin, end, s.revision, partPage)
		if err != nil {
			return nil, err
		}
		for _, kv := range kvs {
			writes, err := decodePart(kv.Value)
			if err != nil {
				return nil, fmt.Errorf("%w: %s", err, kv.Key)
			}
			all = append(all, writes...)
			parts++
			begin = string(kv.Key) + "\x00"
		}
		more = next
	}
	if parts != s.head.parts {
		return nil, fmt.Errorf("%w: the journal at %s has %d parts, %d were written", ErrCorrupt,
			begin, parts, s.head.parts)
	}
	return all, nil
}

// sweep removes what was staged and never committed, by a leader that is gone. One that is not
// gone finds its parts missing when it commits, and stages them again.
func (w *etcdWriter) sweep(ctx context.Context) error {
	s, err := w.k.snapshot(ctx)
	if err != nil {
		return err
	}
	_, err = try(ctx, "sweep the journal",
		func(ctx context.Context) (*clientv3.TxnResponse, error) {
			return w.k.cli.Txn(ctx).If(w.k.headIs(s.headMod), w.fence.holds()).
				Then(clientv3.OpDelete(w.k.key(etcdJournal), clientv3.WithPrefix())).Commit()
		})
	return err
}
