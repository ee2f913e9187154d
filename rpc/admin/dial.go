package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/cloudwego/kitex/client"
	"github.com/cloudwego/kitex/client/callopt"
	"github.com/cloudwego/kitex/pkg/connpool"
	"github.com/cloudwego/kitex/pkg/discovery"
	"github.com/cloudwego/kitex/pkg/endpoint"
	"github.com/cloudwego/kitex/pkg/remote/codec"
	longpool "github.com/cloudwego/kitex/pkg/remote/connpool"
	"github.com/cloudwego/kitex/pkg/rpcinfo"
	"github.com/cloudwego/kitex/pkg/rpcinfo/remoteinfo"
	"github.com/cloudwego/kitex/pkg/transmeta"
	"github.com/cloudwego/kitex/transport"

	"github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1/adminservice"
	"github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1/clientservice"
	"github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1/nodeservice"
)

// Clients are the three services of one control plane. Safe for concurrent use.
type Clients struct {
	Admin  adminservice.Client
	Node   nodeservice.Client
	Client clientservice.Client

	core *core
}

// Option changes how Dial connects.
type Option func(*options)

type options struct {
	connect, call time.Duration
}

// WithConnectTimeout bounds one connection attempt; default DefaultConnectTimeout.
func WithConnectTimeout(d time.Duration) Option {
	return func(o *options) { o.connect = d }
}

// WithCallTimeout bounds calls whose context has no deadline; default DefaultCallTimeout.
func WithCallTimeout(d time.Duration) Option {
	return func(o *options) { o.call = d }
}

// Dial prepares clients for the control plane at endpoint, host:port, or at one of several, with
// commas between them: calls find the one that serves. It does not connect: the first call does, so
// a control plane that is not up yet is ErrUnavailable there. A malformed endpoint is ErrInvalid
// here.
func Dial(endpoint string, opts ...Option) (*Clients, error) {
	o := options{connect: DefaultConnectTimeout, call: DefaultCallTimeout}
	for _, opt := range opts {
		opt(&o)
	}
	known, err := splitEndpoints(endpoint)
	if err != nil {
		return nil, err
	}
	if o.connect <= 0 || o.call <= 0 {
		return nil, Errorf(ErrInvalid, "admin: time-outs must be positive, got %v and %v",
			o.connect, o.call)
	}
	k := &core{endpoint: endpoint, timeout: o.call, route: route{known: known, now: known[0]}}
	k.pool = longpool.NewLongPool("ashlar", connpool.IdleConfig{
		MaxIdlePerAddress: maxIdleConns,
		MaxIdleGlobal:     maxIdleConns,
		MaxIdleTimeout:    idleConnTimeout,
	})
	c := &Clients{core: k}
	if err := c.connect(k.kitexOptions(o)); err != nil {
		_ = k.pool.Close()
		return nil, fmt.Errorf("admin: dial %s: %w", endpoint, err)
	}
	return c, nil
}

func (c *Clients) connect(opts []client.Option) error {
	a, err1 := adminservice.NewClient("AdminService", opts...)
	n, err2 := nodeservice.NewClient("NodeService", opts...)
	b, err3 := clientservice.NewClient("ClientService", opts...)
	c.Admin = &adminClient{core: c.core, kitex: a}
	c.Node = &nodeClient{core: c.core, kitex: n}
	c.Client = &blockClient{core: c.core, kitex: b}
	return errors.Join(err1, err2, err3)
}

// Endpoint returns the address, or the list of them, given to Dial.
func (c *Clients) Endpoint() string { return c.core.endpoint }

// Close closes the idle connections and makes later calls fail with ErrClosed. Calls in flight
// end by themselves. It may be called more than once.
func (c *Clients) Close() error {
	if c.core.closed.Swap(true) {
		return nil
	}
	return c.core.pool.Close()
}

func checkEndpoint(endpoint string) error {
	host, port, err := net.SplitHostPort(endpoint)
	if err != nil || host == "" {
		return Errorf(ErrInvalid, "admin: endpoint %q: want host:port", endpoint)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return Errorf(ErrInvalid, "admin: endpoint %q: the port must be 1 to 65535", endpoint)
	}
	return nil
}

// core is what the three clients share.
type core struct {
	endpoint string
	route    route
	timeout  time.Duration
	pool     *longpool.LongPool
	closed   atomic.Bool
}

func (k *core) kitexOptions(o options) []client.Option {
	return []client.Option{
		client.WithTransportProtocol(transport.TTHeaderFramed),
		client.WithMetaHandler(transmeta.ClientTTHeaderHandler),
		client.WithCodec(codec.NewDefaultCodecWithSizeLimit(MaxFrameBytes)),
		client.WithMiddleware(chosenInstance),
		client.WithMiddleware(limited),
		client.WithConnPool(k.pool),
		client.WithConnectTimeout(o.connect),
	}
}

// targetKey has the endpoint of a call in its context.
type targetKey struct{}

// chosenInstance names the target before Kitex resolves it. Its resolver would try a failed
// connection six times and log each, which turns one time-out into six.
func chosenInstance(next endpoint.Endpoint) endpoint.Endpoint {
	return func(ctx context.Context, req, resp any) error {
		target, _ := ctx.Value(targetKey{}).(string)
		if ri := rpcinfo.GetRPCInfo(ctx); ri != nil {
			if to := remoteinfo.AsRemoteInfo(ri.To()); to != nil {
				to.SetInstance(discovery.NewInstance("tcp", target, discovery.DefaultWeight, nil))
			}
		}
		return next(ctx, req, resp)
	}
}

// limitKey has a call's time limit in its context.
type limitKey struct{}

// limited bounds a call's waiting on its connection. It stands behind Kitex's own time-out, which
// is not used: that runs calls on a pool of goroutines, and ticks 21 times in a second for as long
// as there is one in it.
func limited(next endpoint.Endpoint) endpoint.Endpoint {
	return func(ctx context.Context, req, resp any) error {
		limit, _ := ctx.Value(limitKey{}).(time.Duration)
		if ri := rpcinfo.GetRPCInfo(ctx); ri != nil && limit > 0 {
			if err := rpcinfo.AsMutableRPCConfig(ri.Config()).SetRPCTimeout(limit); err != nil {
				return err
			}
		}
		return next(ctx, req, resp)
	}
}

// method is the shape of every generated client method.
type method[Q, R any] func(context.Context, *Q, ...callopt.Option) (*R, error)

// call gives one call its time limit and its errors their classes.
func call[Q, R any](ctx context.Context, k *core, name string, fn method[Q, R], req *Q,
	opts []callopt.Option,
) (*R, error) {
	if k.closed.Load() {
		return nil, ErrClosed
	}
	limit := k.timeout
	if deadline, ok := ctx.Deadline(); ok {
		limit = time.Until(deadline)
	}
	if ctx.Err() != nil || limit <= 0 {
		return nil, newCallError(ctx, name, k.endpoint, context.DeadlineExceeded)
	}
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	way := search{route: &k.route}
	for {
		at := k.route.current()
		resp, err := within(context.WithValue(bounded, targetKey{}, at), fn, req, opts)
		if err == nil {
			return resp, nil
		}
		if classed := fromWire(err); classed != nil {
			err = classed
		} else {
			err = newCallError(ctx, name, at, err)
		}
		if !way.again(bounded, at, err) {
			return nil, err
		}
	}
}

// within ends with ctx, which has a deadline. The call goes on in the background until its
// connection's time-out; its goroutine is one of those that calls under way have.
func within[Q, R any](ctx context.Context, fn method[Q, R], req *Q, opts []callopt.Option) (
	*R, error,
) {
	type result struct {
		resp *R
		err  error
	}
	done := make(chan result, 1)
	deadline, _ := ctx.Deadline()
	background := context.WithValue(context.WithoutCancel(ctx), limitKey{}, time.Until(deadline))
	go func() {
		resp, err := fn(background, req, opts...)
		done <- result{resp, err}
	}()
	select {
	case r := <-done:
		return r.resp, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
