package client

import (
	"bytes"
	"flag"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/wire"
)

var (
	soakFor  = flag.Duration("client.soak", 3*time.Second, "length of TestRandomFaultsLoseNothing")
	soakSeed = flag.Uint64("client.seed", 0, "its seed; 0 takes one from the clock")
)

// Each worker owns a range and knows what it must hold, while leaders move, connections break,
// nodes freeze, stop and return, and answers are lost, late, damaged or refused. The fake cluster
// checks at the same time that an op id never changes its meaning and that data of a request that
// may still be sent is left alone: the workers scribble over their buffers as soon as they may.
func TestRandomFaultsLoseNothing(t *testing.T) {
	seed := seedOfSoak(t)
	f := newFake(t, testMembers)
	v := f.open(func(c *Config) { c.Timeout, c.Seed = time.Minute, seed })
	f.soak(v, seed, nil)
	t.Logf("%+v %+v", v.Stats(), v.c.NetStats())
}

func seedOfSoak(t *testing.T) uint64 {
	seed := *soakSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	return seed
}

// soak has workers use a volume while the cluster rampages, and something more happens.
func (f *fake) soak(v *Volume, seed uint64, more func(stop chan struct{})) {
	stop := make(chan struct{})
	var workers, chaos sync.WaitGroup
	const each = 128 << 10
	for i := range f.size / each {
		workers.Go(func() {
			w := &worker{v: v, base: i * each, want: make([]byte, each),
				rng: rand.New(rand.NewPCG(seed, uint64(i)))}
			w.run(f.t, stop)
		})
	}
	chaos.Go(func() { f.rampage(rand.New(rand.NewPCG(seed, 1<<20)), stop) })
	if more != nil {
		chaos.Go(func() { more(stop) })
	}
	time.Sleep(*soakFor)
	close(stop)
	chaos.Wait()
	workers.Wait()
}

type worker struct {
	v    *Volume
	base int64
	want []byte
	rng  *rand.Rand
}

func (w *worker) run(t testing.TB, stop chan struct{}) {
	scratch := make([]byte, len(w.want))
	for n := 0; ; n++ {
		select {
		case <-stop:
			if got := scratch; !w.same(t, got, 0) {
				t.Errorf("final content of %d.. is wrong", w.base)
			}
			return
		default:
		}
		size := 1 + w.rng.IntN(len(w.want))
		if w.rng.IntN(4) != 0 {
			size = 1 + w.rng.IntN(12_000)
		}
		off := w.rng.IntN(len(w.want) - size + 1)
		if w.rng.IntN(2) == 0 {
			off, size = off&^4095, min((size+4095)&^4095, len(w.want)-off&^4095)
		}
		switch p := scratch[:size]; w.rng.IntN(8) {
		case 0:
			if err := w.v.Zero(w.base+int64(off), int64(size)); err != nil {
				t.Errorf("zero: %v", err)
			}
			clear(w.want[off : off+size])
		case 1, 2, 3, 4:
			w.write(t, p, off)
		default:
			if !w.same(t, p, off) {
				t.Errorf("operation %d: content of %d+%d is wrong", n, w.base+int64(off), size)
				return
			}
		}
	}
}

// write writes from memory of its own or from a buffer, and scribbles over it afterwards.
func (w *worker) write(t testing.TB, p []byte, off int) {
	w.scribble(p)
	copy(w.want[off:], p)
	b, err := w.v.c.Buffer(len(p))
	if err != nil || w.rng.IntN(2) == 0 {
		_, err = w.v.WriteAt(p, w.base+int64(off))
		w.scribble(p)
	} else {
		copy(b.Bytes(), p)
		err = w.v.WriteBuf(b, w.base+int64(off))
		w.scribble(b.Bytes())
	}
	if err != nil {
		t.Errorf("write: %v", err)
	}
	if b != nil {
		b.Release()
	}
}

func (w *worker) scribble(p []byte) {
	x := w.rng.Uint64()
	for i := range p {
		x = x*6364136223846793005 + 1442695040888963407
		p[i] = byte(x >> 56)
	}
}

func (w *worker) same(t testing.TB, p []byte, off int) bool {
	w.scribble(p)
	if w.rng.IntN(2) == 0 {
		return w.sameFetched(t, off, len(p))
	}
	if _, err := w.v.ReadAt(p, w.base+int64(off)); err != nil {
		t.Errorf("read: %v", err)
	}
	return bytes.Equal(p, w.want[off:off+len(p)])
}

func (w *worker) sameFetched(t testing.TB, off, n int) bool {
	bufs, err := w.v.Fetch(w.base+int64(off), int64(n))
	if err != nil {
		t.Errorf("fetch: %v", err)
	}
	var got []byte
	for _, b := range bufs {
		got = append(got, b.Bytes()...)
		b.Release()
	}
	return bytes.Equal(got, w.want[off:off+n])
}

// rampage makes trouble until stop, and then leaves a cluster that works.
func (f *fake) rampage(rng *rand.Rand, stop chan struct{}) {
	var mu sync.Mutex // scripts run on several event loops
	dice := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return rng.IntN(n)
	}
	flaky := func(_ *fakeNode, op wire.Op, _ *wire.IORequest) reaction {
		switch dice(200) {
		case 0:
			return reaction{kill: true}
		case 1:
			return reaction{swallow: true, kill: true}
		case 2:
			return reaction{status: wire.StatusOverloaded, retryAfter: uint32(dice(4))}
		case 3:
			return reaction{status: wire.StatusRetry}
		case 4:
			return reaction{flip: op == wire.OpRead}
		case 5:
			return reaction{delay: time.Duration(dice(20)) * time.Millisecond}
		case 6:
			return reaction{status: wire.StatusUnavailable}
		case 7:
			return reaction{status: wire.StatusWrongCopyset}
		case 8:
			return reaction{mute: dice(50) == 0}
		}
		return reaction{}
	}
	for {
		f.react(flaky)
		f.setHints(dice(3) != 0)
		n := f.nodes[dice(len(f.nodes))]
		switch dice(6) {
		case 0:
			n.stop()
			f.setLeader((n.index + 1) % testMembers)
			f.pause(stop, time.Duration(dice(60))*time.Millisecond)
			n.start()
		case 1:
			n.frozen.Store(true)
			f.setLeader((n.index + 1) % testMembers)
			f.pause(stop, time.Duration(dice(900))*time.Millisecond)
			n.frozen.Store(false)
		case 2:
			f.setLeader(none)
			f.pause(stop, time.Duration(dice(50))*time.Millisecond)
			f.setLeader(n.index)
		default:
			f.setLeader(n.index)
		}
		if f.pause(stop, time.Duration(dice(40))*time.Millisecond) {
			f.react(nil)
			return
		}
	}
}

func (f *fake) pause(stop chan struct{}, d time.Duration) (stopped bool) {
	select {
	case <-stop:
		return true
	case <-time.After(d):
		return false
	}
}
