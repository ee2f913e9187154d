package meta

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// etcdLeadership is a key bound to a lease. The lease is renewed for as long as the leader lives;
// the leader counts its time from before it asked, etcd from after, so the leader stops first.
type etcdLeadership struct {
	writer *etcdWriter
	lease  clientv3.LeaseID
	stop   context.CancelFunc // of the renewal

	mu    sync.Mutex
	until time.Time
	lost  chan struct{}
}

var _ Leadership = (*etcdLeadership)(nil)

func (k *etcdKV) Campaign(ctx context.Context, name, value string) (Leadership, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(k.ctx, cancel)()
	for {
		l, err := k.tryLead(ctx, k.key(etcdElection)+name, value)
		switch {
		case k.ctx.Err() != nil:
			return nil, ErrClosed
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, ErrCorrupt), errors.Is(err, ErrVersion):
			return nil, err
		case l != nil:
			return l, nil
		case err != nil:
			k.log.Warn("cannot stand for election", "error", err)
			pause(ctx, etcdWait)
		}
	}
}

// tryLead leads if nobody does, or waits for the leader's end, at most etcdWait.
func (k *etcdKV) tryLead(ctx context.Context, key, value string) (*etcdLeadership, error) {
	resp, err := try(ctx, "look for the leader",
		func(ctx context.Context) (*clientv3.GetResponse, error) { return k.cli.Get(ctx, key) })
	if err != nil {
		return nil, err
	}
	if len(resp.Kvs) > 0 {
		k.awaitEnd(ctx, key, resp.Header.Revision)
		return nil, nil
	}
	asked := time.Now()
	once, cancel := context.WithTimeout(ctx, etcdTry)
	defer cancel()
	lease, err := k.cli.Grant(once, int64(k.lease/time.Second))
	if err != nil {
		return nil, explain("get a lease", err)
	}
	won, err := k.cli.Txn(once).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, value, clientv3.WithLease(lease.ID))).Commit()
	if err != nil || !won.Succeeded {
		k.revoke(lease.ID)
		if err != nil {
			return nil, explain("stand for election", err)
		}
		return nil, nil
	}
	l, err := k.leads(&fence{key: key, created: won.Header.Revision}, lease, asked)
	if err != nil {
		k.revoke(lease.ID)
		return nil, err
	}
	if err := l.writer.sweep(ctx); err != nil {
		return nil, errors.Join(err, l.Resign(ctx))
	}
	return l, nil
}

// awaitEnd returns when the key is deleted, or after etcdWait.
func (k *etcdKV) awaitEnd(ctx context.Context, key string, since int64) {
	ctx, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), etcdWait)
	defer cancel()
	for resp := range k.cli.Watch(ctx, key, clientv3.WithRev(since+1), clientv3.WithFilterPut()) {
		if len(resp.Events) > 0 {
			return
		}
		if resp.Err() != nil {
			pause(ctx, etcdPause)
			return
		}
	}
}

func (k *etcdKV) leads(f *fence, lease *clientv3.LeaseGrantResponse, asked time.Time) (
	*etcdLeadership, error,
) {
	if err := k.enter(k.ctx); err != nil {
		return nil, err
	}
	defer k.leave()
	l := &etcdLeadership{writer: &etcdWriter{k: k, fence: f}, lease: lease.ID,
		lost: make(chan struct{}), until: until(asked, lease.TTL)}
	var ctx context.Context
	ctx, l.stop = context.WithCancel(k.ctx)
	k.work.Go(func() { l.keep(ctx) })
	return l, nil
}

// until is when a lease must count as over that was asked for at a time.
func until(asked time.Time, ttl int64) time.Time {
	d := time.Duration(ttl) * time.Second
	return asked.Add(d - d/leaseMargin)
}

// keep renews the lease until it cannot, and ends the leadership then.
func (l *etcdLeadership) keep(ctx context.Context) {
	defer l.end()
	for pause(ctx, min(l.left(), l.writer.k.lease/leaseBeats)) && l.Held() {
		asked := time.Now()
		once, cancel := context.WithTimeout(ctx, min(l.left(), etcdTry/2))
		ttl, err := l.renew(once)
		cancel()
		switch {
		case errors.Is(err, ErrLost):
			l.writer.k.log.Warn("leadership was taken away", "error", err)
			return
		case err != nil:
			l.writer.k.log.Warn("cannot renew the leadership", "error", err)
		default:
			l.extend(until(asked, ttl))
		}
	}
}

// extend makes a leadership last until a time. One that ended while its renewal was under way is
// over for good: who was told so by Lost has given it up.
func (l *etcdLeadership) extend(until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Now().Before(l.until) {
		l.until = until
	}
}

// renew makes the lease last longer and looks whether the key is still there.
func (l *etcdLeadership) renew(ctx context.Context) (ttl int64, err error) {
	k := l.writer.k
	stream, err := etcdserverpb.NewLeaseClient(k.cli.ActiveConnection()).LeaseKeepAlive(ctx)
	if err != nil {
		return 0, err
	}
	if err := stream.Send(&etcdserverpb.LeaseKeepAliveRequest{ID: int64(l.lease)}); err != nil {
		return 0, err
	}
	resp, err := stream.Recv()
	if err != nil {
		if errors.Is(rpctypes.Error(err), rpctypes.ErrLeaseNotFound) {
			err = fmt.Errorf("%w: the lease is over", ErrLost)
		}
		return 0, err
	}
	if resp.TTL <= 0 {
		return 0, fmt.Errorf("%w: the lease is over", ErrLost)
	}
	held, err := k.cli.Txn(ctx).If(l.writer.fence.holds()).Commit()
	if err == nil && !held.Succeeded {
		err = fmt.Errorf("%w: %s was deleted", ErrLost, l.writer.fence.key)
	}
	return resp.TTL, err
}

func (l *etcdLeadership) View(ctx context.Context, fn func(Reader) error) error {
	return l.writer.k.View(ctx, fn)
}

func (l *etcdLeadership) Update(ctx context.Context, fn func(Tx) error) error {
	if !l.Held() {
		return ErrLost
	}
	err := l.writer.update(ctx, fn)
	if errors.Is(err, ErrLost) || errors.Is(err, ErrFailed) {
		l.end()
	}
	return err
}

func (l *etcdLeadership) Held() bool { return l.left() > 0 }

// left is how long the leadership lasts if it is not renewed.
func (l *etcdLeadership) left() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Until(l.until)
}

func (l *etcdLeadership) Lost() <-chan struct{} { return l.lost }

// end makes the leadership over for this process at once, and for others as soon as etcd answers.
func (l *etcdLeadership) end() {
	l.mu.Lock()
	first := !l.until.IsZero()
	if first {
		l.until = time.Time{}
		close(l.lost)
	}
	l.mu.Unlock()
	l.stop()
	if first && !l.writer.k.revoke(l.lease) {
		l.writer.k.revokeLater(l.lease)
	}
}

func (l *etcdLeadership) Resign(context.Context) error {
	l.writer.mu.Lock()
	defer l.writer.mu.Unlock()
	l.end()
	return nil
}

// revoke gives a lease back; false: etcd does not answer.
func (k *etcdKV) revoke(id clientv3.LeaseID) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(k.ctx), etcdTry/2)
	defer cancel()
	_, err := k.cli.Revoke(ctx, id)
	return err == nil || answered(err)
}

// revokeLater gives a lease back when etcd answers again: it keeps leases that were not over when
// it went away, and gives them their whole time anew. At Close it is left to end by itself.
func (k *etcdKV) revokeLater(id clientv3.LeaseID) {
	if err := k.enter(k.ctx); err != nil {
		return
	}
	defer k.leave()
	k.work.Go(func() {
		for pause(k.ctx, etcdWait) && !k.revoke(id) {
		}
	})
}

func (k *etcdKV) Leader(ctx context.Context, name string) (string, error) {
	if err := k.enter(ctx); err != nil {
		return "", err
	}
	defer k.leave()
	resp, err := try(ctx, "look for the leader",
		func(ctx context.Context) (*clientv3.GetResponse, error) {
			return k.cli.Get(ctx, k.key(etcdElection)+name)
		})
	switch {
	case err != nil:
		return "", err
	case len(resp.Kvs) == 0:
		return "", ErrNotFound
	}
	return string(resp.Kvs[0].Value), nil
}
