package hot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-storage/ashlar/perf/linear"
	"github.com/ashlar-storage/ashlar/rpc/client"
)

// Config says what the clients do. Zero fields get the values in the comments.
type Config struct {
	Blocks  int           // that everybody writes and reads; 4
	Apart   int64         // bytes between two of them; 16 MiB, so that each is of another chunk
	Writers int           // 3
	Readers int           // through the second attachment; 2, beside one through the writers'
	Pause   time.Duration // mean, between two operations of one client; 3 ms
	Most    int           // operations of the history; 400,000
}

func (c *Config) complete() {
	set := func(v *int, to int) {
		if *v == 0 {
			*v = to
		}
	}
	set(&c.Blocks, 4)
	set(&c.Writers, 3)
	set(&c.Readers, 2)
	set(&c.Most, 400_000)
	if c.Apart == 0 {
		c.Apart = 16 << 20
	}
	if c.Pause == 0 {
		c.Pause = 3 * time.Millisecond
	}
}

// Bytes is how large a volume the clients need.
func (c Config) Bytes() int64 {
	c.complete()
	return int64(c.Blocks) * c.Apart
}

// Clients are at work from Start to Judge.
type Clients struct {
	cfg     Config
	first   []uint64 // what the blocks held before
	history *linear.History
	values  atomic.Uint64
	longest atomic.Int64 // ns
	stop    chan struct{}
	all     sync.WaitGroup
	mu      sync.Mutex
	err     error
}

// Writer is an attachment for writing.
type Writer interface {
	io.ReaderAt
	io.WriterAt
}

// Attach attaches a volume twice, by clients of their own: for writing and for reading. done closes
// both clients.
func Attach(ctx context.Context, cfg client.Config, volume string) (w, r *client.Volume,
	done func(), err error) {
	var clients []*client.Client
	done = func() {
		for _, c := range clients {
			_ = c.Close()
		}
	}
	open := func(opts ...client.OpenOption) (*client.Volume, error) {
		c, err := client.Connect(ctx, cfg)
		if err != nil {
			return nil, err
		}
		clients = append(clients, c)
		return c.OpenVolume(ctx, volume, opts...)
	}
	if w, err = open(); err == nil {
		r, err = open(client.ReadOnly())
	}
	if err != nil {
		done()
		return nil, nil, nil, err
	}
	return w, r, done, nil
}

// The numbers of the clients in a history.
const (
	firstReader  = 100
	besideWriter = 200
	before       = 300
)

// Start begins to write through one attachment and to read through both. Nobody else may write to
// the blocks. It fails when their content cannot be read, or is not that of such clients.
func Start(cfg Config, w Writer, r io.ReaderAt) (*Clients, error) {
	cfg.complete()
	c := &Clients{cfg: cfg, stop: make(chan struct{})}
	data := make([]byte, BlockSize)
	for b := range cfg.Blocks {
		if _, err := w.ReadAt(data, int64(b)*cfg.Apart); err != nil {
			return nil, fmt.Errorf("hot: block %d before the start: %w", b, err)
		}
		value, err := Read(data, uint64(b))
		if err != nil {
			return nil, fmt.Errorf("%w: name one that may be overwritten: %w", ErrForeign, err)
		}
		c.first = append(c.first, value)
		c.values.Store(max(c.values.Load(), value))
	}
	c.history = linear.NewHistory(cfg.Most)
	for k := range cfg.Writers {
		c.all.Go(func() { c.run(k, func(b uint64) error { return c.write(k, w, b) }) })
	}
	for k := range cfg.Readers {
		id := firstReader + k
		c.all.Go(func() { c.run(id, func(b uint64) error { return c.read(id, r, b) }) })
	}
	c.all.Go(func() {
		c.run(besideWriter, func(b uint64) error { return c.read(besideWriter, w, b) })
	})
	return c, nil
}

func (c *Clients) run(k int, one func(block uint64) error) {
	rng := rand.New(rand.NewPCG(uint64(k), c.values.Load()))
	for {
		select {
		case <-c.stop:
			return
		case <-time.After(time.Duration(rng.ExpFloat64() * float64(c.cfg.Pause))):
		}
		if err := one(uint64(rng.IntN(c.cfg.Blocks))); err != nil {
			c.mu.Lock()
			c.err = errors.Join(c.err, err)
			c.mu.Unlock()
			return
		}
	}
}

func (c *Clients) write(k int, w io.WriterAt, block uint64) error {
	data := make([]byte, BlockSize)
	op := linear.Op{Client: k, Block: block, Write: true, Value: c.values.Add(1)}
	Stamp(data, block, op.Value)
	op.Call = c.history.Now()
	_, err := w.WriteAt(data, int64(block)*c.cfg.Apart)
	if errors.Is(err, client.ErrTimeout) {
		op.Unknown, err = true, nil
	}
	c.took(op.Call)
	return errors.Join(err, c.history.Done(op))
}

func (c *Clients) read(k int, r io.ReaderAt, block uint64) error {
	data := make([]byte, BlockSize)
	op := linear.Op{Client: k, Block: block, Call: c.history.Now()}
	_, err := r.ReadAt(data, int64(block)*c.cfg.Apart)
	c.took(op.Call)
	if errors.Is(err, client.ErrTimeout) {
		return nil // it says nothing
	}
	if err == nil {
		op.Value, err = Read(data, block)
	}
	if err != nil {
		return err
	}
	return c.history.Done(op)
}

func (c *Clients) took(since time.Duration) {
	Raise(&c.longest, int64(c.history.Now()-since))
}

// Raise makes a maximum v at least.
func Raise(most *atomic.Int64, v int64) {
	for was := most.Load(); v > was; was = most.Load() {
		if most.CompareAndSwap(was, v) {
			return
		}
	}
}

// Longest is how long the longest operation took that ended since the last call.
func (c *Clients) Longest() time.Duration { return time.Duration(c.longest.Swap(0)) }

// Err is what ended a client before its time; nil while all are at work.
func (c *Clients) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Judge ends the clients, and judges what they saw, in limit at most for each block. ops is how
// many operations that were. It fails with linear.ErrViolated, linear.ErrUnknown, or what ended a
// client.
func (c *Clients) Judge(limit time.Duration) (ops int, err error) {
	close(c.stop)
	c.all.Wait()
	if err := c.Err(); err != nil {
		return 0, fmt.Errorf("hot: a client got an error: %w", err)
	}
	history := c.history.Ops()
	for block, value := range c.first { // as if written by another before all others
		history = append(history, linear.Op{Client: before, Block: uint64(block), Write: true,
			Value: value, Call: -2, Return: -1})
	}
	return len(history), linear.Check(history, limit)
}
