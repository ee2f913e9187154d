package client

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/wire"
)

func TestOpenForWritingFencesEveryCopysetOfTheVolume(t *testing.T) {
	f := newFake(t, 3)
	f.size = f.segBytes * (segmentsPerLookup + 5) // more than one lookup
	for epoch := uint64(1); epoch <= 2; epoch++ {
		f.open(nil)
		f.mu.Lock()
		for _, id := range f.copysets {
			if f.fenced[id] != epoch {
				t.Errorf("copyset %d is fenced at epoch %d, want %d", id, f.fenced[id], epoch)
			}
		}
		f.mu.Unlock()
	}
}

func TestReaderFencesNobody(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(nil)
	mustWrite(t, v, fill(1, 4096), 0)
	r := f.open(nil, ReadOnly())
	mustRead(t, r, fill(1, 4096), 0)
	mustWrite(t, v, fill(2, 4096), 0)
	if f.opening != 0 {
		t.Errorf("a reader sent %d requests to open", f.opening)
	}
}

func TestOpenThatIsOvertakenFails(t *testing.T) {
	f := newFake(t, 3)
	f.react(func(*fakeNode, wire.Op, *wire.IORequest) reaction {
		return reaction{status: wire.StatusStaleEpoch}
	})
	f.openFails(t, nil, ErrFenced)
}

func TestOpenFailsWhenACopysetCannotBeFenced(t *testing.T) {
	f := newFake(t, 3)
	f.mu.Lock()
	f.leader[f.copysets[1]] = none
	f.mu.Unlock()
	f.openFails(t, func(c *Config) { c.Timeout = 200 * time.Millisecond }, ErrTimeout)
}

func TestOpenEndsWithItsContext(t *testing.T) {
	f := newFake(t, 3)
	f.mu.Lock()
	f.leader[f.copysets[1]] = none
	f.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	c := f.connect(nil)
	if _, err := c.OpenVolume(ctx, "vol"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// openFails opens the volume in vain, and sees that the session is given back.
func (f *fake) openFails(t *testing.T, change func(*Config), class error) {
	t.Helper()
	c := f.connect(change)
	if _, err := c.OpenVolume(context.Background(), "vol"); !errors.Is(err, class) {
		t.Errorf("got %v, want %v", err, class)
	}
	if n := f.closed.Load(); n != 1 {
		t.Errorf("%d sessions were given back", n)
	}
}
