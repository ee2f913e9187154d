package meta

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// EtcdConfig is how OpenEtcd reaches etcd.
type EtcdConfig struct {
	Endpoints []string // of the members: host:port, or URLs; https with TLS
	Prefix    string   // of all keys; DefaultEtcdPrefix. One for each cluster
	TLS       *tls.Config
	Username  string // empty: etcd asks for none
	Password  string
	Lease     time.Duration // of leaderships; DefaultLease
	Logger    *slog.Logger  // nil: slog.Default()
}

// etcdKV is the KV on etcd. Any number of processes may have the same prefix open.
type etcdKV struct {
	cli    *clientv3.Client
	prefix string
	lease  time.Duration
	log    *slog.Logger
	hub    hub
	feed   feed
	plain  *etcdWriter // of Updates without a leadership

	ctx  context.Context // ends with Close
	stop context.CancelFunc
	work sync.WaitGroup // goroutines of feed and leaderships

	life
}

var _ KV = (*etcdKV)(nil)

// OpenEtcd connects and makes sure that the prefix is ours or empty; an empty one is marked. See
// the package comment for what is refused. etcd that does not answer is ErrUnavailable. The
// caller closes the KV.
func OpenEtcd(ctx context.Context, cfg EtcdConfig) (KV, error) {
	k, err := newEtcd(cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, etcdLimit)
	defer cancel()
	if err := k.connect(ctx, cfg); err != nil {
		k.stop()
		return nil, err
	}
	if err := k.claim(ctx); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

func newEtcd(cfg EtcdConfig) (*etcdKV, error) {
	if len(cfg.Endpoints) == 0 {
		return nil, errors.New("meta: no endpoints of etcd: want host:port of its members")
	}
	if cfg.Prefix == "" {
		cfg.Prefix = DefaultEtcdPrefix
	}
	if cfg.Lease == 0 {
		cfg.Lease = DefaultLease
	}
	if cfg.Lease < time.Second || cfg.Lease%time.Second != 0 {
		return nil, fmt.Errorf("meta: lease of %v: etcd grants whole seconds", cfg.Lease)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	k := &etcdKV{prefix: strings.TrimSuffix(cfg.Prefix, "/") + "/", lease: cfg.Lease,
		log: cfg.Logger}
	k.plain = &etcdWriter{k: k}
	k.ctx, k.stop = context.WithCancel(context.Background())
	return k, nil
}

func (k *etcdKV) connect(ctx context.Context, cfg EtcdConfig) (err error) {
	k.cli, err = clientv3.New(clientv3.Config{
		Endpoints: cfg.Endpoints, TLS: cfg.TLS, Username: cfg.Username, Password: cfg.Password,
		DialTimeout: etcdDialTimeout, DialKeepAliveTime: etcdPing, DialKeepAliveTimeout: etcdPong,
		Context: k.ctx, Logger: zap.NewNop(), // what matters comes back as errors
		// Its default waits up to two minutes between tries, when etcd was away for long.
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: etcdRedial / 10, Multiplier: 1.6, Jitter: 0.2,
				MaxDelay: etcdRedial},
			MinConnectTimeout: etcdDialTimeout,
		})},
	})
	if err != nil {
		return explain("connect to "+strings.Join(cfg.Endpoints, ","), err)
	}
	return ctx.Err()
}

// claim makes the prefix ours when it is empty, and refuses what is not ours or newer.
func (k *etcdKV) claim(ctx context.Context) error {
	line := fmt.Sprintf("%s%d\n", formatPrefix, FormatVersion)
	what := "claim " + k.prefix + " at " + strings.Join(k.cli.Endpoints(), ",")
	resp, err := try(ctx, what, func(ctx context.Context) (*clientv3.TxnResponse,
		error,
	) {
		return k.cli.Txn(ctx).If(
			clientv3.Compare(clientv3.CreateRevision(k.prefix).WithPrefix(), "=", 0),
		).Then(
			clientv3.OpPut(k.key(etcdFormatKey), line),
			clientv3.OpPut(k.key(etcdHeadKey), string(head{}.encode())),
		).Else(
			clientv3.OpGet(k.key(etcdFormatKey)),
			clientv3.OpGet(k.prefix, clientv3.WithPrefix(), clientv3.WithLimit(1),
				clientv3.WithKeysOnly()),
		).Commit()
	})
	if err != nil || resp.Succeeded {
		return err
	}
	found := resp.Responses[0].GetResponseRange().Kvs
	if len(found) == 0 {
		return fmt.Errorf("%w: etcd holds %q but no %q; choose another prefix", ErrForeign,
			resp.Responses[1].GetResponseRange().Kvs[0].Key, k.key(etcdFormatKey))
	}
	version, err := parseFormat(string(found[0].Value))
	if err != nil {
		return fmt.Errorf("%w: %s in etcd", err, k.key(etcdFormatKey))
	}
	return checkVersion(version, k.key(etcdFormatKey)+" in etcd")
}

func (k *etcdKV) key(name string) string { return k.prefix + name }

func (k *etcdKV) View(ctx context.Context, fn func(Reader) error) error {
	if err := k.enter(ctx); err != nil {
		return err
	}
	defer k.leave()
	snap, err := k.snapshot(ctx)
	if err != nil {
		return err
	}
	return fn(etcdReader{ctx: ctx, k: k, revision: snap.revision, number: snap.head.revision})
}

func (k *etcdKV) Update(ctx context.Context, fn func(Tx) error) error {
	return k.plain.update(ctx, fn)
}

func (k *etcdKV) Close() error {
	k.stop()
	return k.end(func() error {
		k.hub.close()
		k.work.Wait()
		// The client reports the end of its own context.
		if err := k.cli.Close(); err != nil && !errors.Is(err, context.Canceled) {
			return fmt.Errorf("meta: close: %w", err)
		}
		return nil
	})
}
