package echo

import (
	"context"
	"fmt"
	"sync"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// Request is one frame that goes to the echo and comes back.
type Request struct {
	Data []byte
	// Done is called once, from a goroutine of the client or from inside Submit; it may submit.
	Done func(*Request)
	Err  error
	User any
}

// Client has any number of frames under way.
type Client struct {
	conn transport.Conn
	pool *buf.Pool
	done chan struct{} // the receiver has ended

	mu     sync.Mutex
	err    error
	lastID uint64
	live   map[uint64]*Request
}

// Dial connects to a server of Serve.
func Dial(ctx context.Context, addr string) (*Client, error) {
	pool, err := buf.NewPool(buf.Config{Bytes: PoolBytes})
	if err != nil {
		return nil, fmt.Errorf("echo: %w", err)
	}
	conn, err := transport.Dial(ctx, addr, transport.Config{Pool: pool,
		Hello: wire.Hello{ClusterID: "echo", Role: "client", Name: "echo"}})
	if err != nil {
		_ = pool.Close()
		return nil, fmt.Errorf("echo: %w", err)
	}
	c := &Client{conn: conn, pool: pool, done: make(chan struct{}), live: map[uint64]*Request{}}
	go c.receive()
	return c, nil
}

// Submit sends a frame.
func (c *Client) Submit(r *Request) {
	c.mu.Lock()
	err := c.err
	c.lastID++
	id := c.lastID
	if err == nil {
		c.live[id] = r
	}
	c.mu.Unlock()
	if err != nil {
		r.Err = err
		r.Done(r)
		return
	}
	msg := transport.Message{Header: wire.Header{Op: wire.OpWrite, ID: id}, Body: [][]byte{r.Data}}
	if err := c.conn.Send([]transport.Message{msg}); err != nil {
		c.fail(fmt.Errorf("echo: %w", err))
	}
}

func (c *Client) receive() {
	defer close(c.done)
	for {
		m, err := c.conn.Recv()
		if err != nil {
			c.fail(fmt.Errorf("echo: %w", err))
			return
		}
		n := 0
		if m.Payload != nil {
			n = len(m.Payload.Bytes())
			m.Payload.Release()
		}
		c.mu.Lock()
		r := c.live[m.Header.ID]
		delete(c.live, m.Header.ID)
		c.mu.Unlock()
		if r == nil {
			continue
		}
		if r.Err = nil; n != len(r.Data) {
			r.Err = fmt.Errorf("echo: %d of %d bytes came back", n, len(r.Data))
		}
		r.Done(r)
	}
}

// fail ends everything under way, and whatever is submitted later.
func (c *Client) fail(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	live := c.live
	c.live = map[uint64]*Request{}
	c.mu.Unlock()
	for _, r := range live {
		r.Err = err
		r.Done(r)
	}
}

// Close ends the connection; what is under way fails.
func (c *Client) Close() error {
	err := c.conn.Close()
	<-c.done
	_ = c.pool.Close() // complains of nothing but a second time
	return err
}
