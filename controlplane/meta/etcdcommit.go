package meta

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// etcdWriter commits one transaction at a time. Each leadership has one of its own.
type etcdWriter struct {
	k     *etcdKV
	fence *fence // nil: whoever asks may write

	mu     sync.Mutex
	failed error
}

// fence is the key by which a leader leads. It was created once for this leader, and its
// revision is never given out again.
type fence struct {
	key     string
	created int64
}

func (f *fence) holds() clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(f.key), "=", f.created)
}

// errConflict: another transaction came between; run it again.
var errConflict = errors.New("meta: conflict")

func (w *etcdWriter) update(ctx context.Context, fn func(Tx) error) error {
	if err := w.k.enter(ctx); err != nil {
		return err
	}
	defer w.k.leave()
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		if w.failed != nil {
			return w.failed
		}
		err := w.attempt(ctx, fn)
		if !errors.Is(err, errConflict) {
			return err
		}
		if !pause(ctx, etcdPause) {
			return ctx.Err()
		}
	}
}

func (w *etcdWriter) attempt(ctx context.Context, fn func(Tx) error) error {
	snap, err := w.k.snapshot(ctx)
	if err != nil {
		return err
	}
	tx := &etcdTx{writes: map[string]write{},
		etcdReader: etcdReader{ctx: ctx, k: w.k, revision: snap.revision,
			number: snap.head.revision}}
	if err := fn(tx); err != nil {
		return err
	}
	switch {
	case tx.broken != nil:
		return tx.broken
	case tx.bytes > MaxTxnBytes:
		return fmt.Errorf("%w: transaction of %d bytes, at most %d", ErrTooLarge, tx.bytes,
			MaxTxnBytes)
	case len(tx.writes) == 0:
		return nil
	}
	// From here on the caller's patience does not count: a commit that was begun is found out.
	return w.commit(context.WithoutCancel(ctx), snap, tx)
}

// commit makes the writes the newest transaction, on the condition that the snapshot still has
// the newest, so that everything the transaction read still holds.
func (w *etcdWriter) commit(ctx context.Context, snap snapshot, tx *etcdTx) error {
	next := head{revision: snap.head.revision + 1}
	if _, err := rand.Read(next.commit[:]); err != nil {
		return fmt.Errorf("meta: name a transaction: %w", err)
	}
	writes := tx.sorted()
	conds := []clientv3.Cmp{w.k.headIs(snap.headMod)}
	if w.fence != nil {
		conds = append(conds, w.fence.holds())
	}
	ops := w.k.ops(writes)
	if len(writes) > etcdOps || tx.bytes > etcdBytes {
		staged, err := w.k.stage(ctx, &next, writes)
		if err != nil {
			return err
		}
		conds, ops = append(conds, staged...), nil
	}
	ops = append(ops, clientv3.OpPut(w.k.key(etcdHeadKey), string(next.encode())))
	err := w.send(ctx, snap, next, conds, ops)
	switch {
	case next.parts == 0 || errors.Is(err, ErrFailed):
	case err != nil:
		w.k.unstage(ctx, next)
	default:
		w.k.carryOut(ctx)
	}
	return err
}

// send commits and finds out whether that took place.
func (w *etcdWriter) send(ctx context.Context, snap snapshot, next head, conds []clientv3.Cmp,
	ops []clientv3.Op,
) error {
	once, cancel := context.WithTimeout(ctx, etcdTry)
	defer cancel()
	txn := w.k.cli.Txn(once).If(conds...).Then(ops...)
	if w.fence != nil {
		txn = txn.Else(clientv3.OpGet(w.fence.key))
	}
	resp, err := txn.Commit()
	switch {
	case err != nil:
		return w.resolve(ctx, snap, next, err)
	case resp.Succeeded:
		return nil
	case w.fence != nil:
		kvs := resp.Responses[0].GetResponseRange().Kvs
		if len(kvs) == 0 || kvs[0].CreateRevision != w.fence.created {
			return ErrLost
		}
	}
	return errConflict
}

// resolve finds out what became of a commit without an answer. It may still be on its way, so that
// reading the head once proves nothing: the head is written anew as it is, which ends the
// condition that the commit stands under. An error that etcd itself answered with needs no such
// thing; but the commit may have taken place in spite of it (etcd answers so when the last bytes
// of its quota were used).
func (w *etcdWriter) resolve(ctx context.Context, snap snapshot, next head, cause error) error {
	ctx, cancel := context.WithTimeout(ctx, resolveLimit)
	defer cancel()
	for {
		now, err := w.k.look(ctx)
		switch {
		case errors.Is(err, ErrCorrupt), errors.Is(err, ErrVersion):
			return w.fail(err)
		case err != nil:
			if !pause(ctx, etcdPause) {
				return w.fail(cause)
			}
			continue
		case now.head.commit == next.commit:
			return nil
		case now.head.revision > next.revision:
			return w.fail(fmt.Errorf("%w; others have committed since", cause))
		case answered(cause):
			return explain("commit", cause)
		case now.headMod != snap.headMod:
			// The condition ended before the commit came, and no revision comes twice.
			return errConflict
		}
		w.k.touchHead(ctx, now)
	}
}

// touchHead writes the head as it is. Nobody needs to know whether it succeeded: looking tells.
func (k *etcdKV) touchHead(ctx context.Context, now snapshot) {
	once, cancel := context.WithTimeout(ctx, etcdTry)
	defer cancel()
	_, err := k.cli.Txn(once).If(k.headIs(now.headMod)).
		Then(clientv3.OpPut(k.key(etcdHeadKey), string(now.head.encode()))).Commit()
	if err != nil {
		pause(ctx, etcdPause)
	}
}

func (k *etcdKV) headIs(mod int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(k.key(etcdHeadKey)), "=", mod)
}

func (w *etcdWriter) fail(cause error) error {
	w.failed = fmt.Errorf("%w: commit: %w", ErrFailed, cause)
	return w.failed
}

// ops are writes as operations of etcd.
func (k *etcdKV) ops(writes []write) []clientv3.Op {
	ops := make([]clientv3.Op, 0, len(writes)+1)
	for _, w := range writes {
		key := k.key(etcdData) + string(w.key)
		if w.deleted {
			ops = append(ops, clientv3.OpDelete(key))
		} else {
			ops = append(ops, clientv3.OpPut(key, string(w.value)))
		}
	}
	return ops
}
