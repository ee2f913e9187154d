package store

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/disk"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// hung is a disk that can stop answering: what is asked of it meanwhile waits.
type hung struct {
	disk.Disk
	mu   sync.Mutex
	held chan struct{} // closed when it answers again; nil: it does
}

type hungFile struct {
	disk.File
	disk *hung
}

func (h *hung) hang() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held = make(chan struct{})
}

func (h *hung) goOn() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held != nil {
		close(h.held)
		h.held = nil
	}
}

func (h *hung) wait() {
	h.mu.Lock()
	held := h.held
	h.mu.Unlock()
	if held != nil {
		<-held
	}
}

func (h *hung) Open(name string) (disk.File, error) { return h.wrap(h.Disk.Open(name)) }

func (h *hung) Create(name string, size int64) (disk.File, error) {
	return h.wrap(h.Disk.Create(name, size))
}

func (h *hung) wrap(f disk.File, err error) (disk.File, error) {
	if err != nil {
		return nil, err
	}
	return &hungFile{File: f, disk: h}, nil
}

func (f *hungFile) WriteVec(vec [][]byte, off int64, durable bool) error {
	f.disk.wait()
	return f.File.WriteVec(vec, off, durable)
}

func (f *hungFile) Submit(op *disk.Op) {
	f.disk.mu.Lock()
	held := f.disk.held
	f.disk.mu.Unlock()
	if held == nil {
		f.File.Submit(op)
		return
	}
	go func() {
		<-held
		f.File.Submit(op)
		f.disk.Flush()
	}()
}

func TestStallIsNoticedAtOnceAndForgottenSlowly(t *testing.T) {
	s := stall{bound: time.Second}
	for i, c := range []struct {
		age, elapsed time.Duration
		on           bool
	}{
		{0, time.Hour, false},
		{999 * time.Millisecond, time.Second, false},
		{time.Second, time.Second, true},
		{0, stallCalm - 1, true},
		{600 * time.Millisecond, time.Second, true}, // not well enough: the calm begins anew
		{0, stallCalm - 1, true},
		{2 * time.Second, time.Second, true},
		{0, stallCalm / 2, true},
		{0, stallCalm / 2, false},
		{900 * time.Millisecond, time.Second, false},
	} {
		was := s.on
		if changed := s.step(c.age, c.elapsed); s.on != c.on || changed != (was != c.on) {
			t.Errorf("step %d: on %v, changed %v", i, s.on, changed)
		}
	}
}

// hungRig is three stores that notice a stall soon, on disks that can hang.
func hungRig(t *testing.T) (*rig, []*hung) {
	disks := make([]*hung, 3)
	r := newRig(t, 3, func(r *rig) {
		r.adapt = func(i int, cfg *Config) {
			disks[i] = &hung{Disk: cfg.Disk}
			cfg.Disk, cfg.StallBound = disks[i], 150*time.Millisecond
		}
	})
	t.Cleanup(func() { // before the stores close
		for _, d := range disks {
			d.goOn()
		}
	})
	return r, disks
}

func TestLeadersLeaveADeviceThatHangsAndClientsGoOn(t *testing.T) {
	r, disks := hungRig(t)
	r.mustWrite(1, 0, 0, pattern(1, 4))
	lead := r.leader(1)
	for i := range 3 {
		r.checkpoint(i)
	}
	disks[lead].hang()
	read := make(chan result, 1)
	go func() { // a read that the device keeps
		read <- r.op(lead, 1, copyset.Request{Kind: copyset.KindRead, Length: block,
			Chunk: copyset.Chunk{Volume: 1}}, nil)
	}()
	r.mustWrite(1, 0, block, pattern(5, 1))
	if now := r.leader(1); now == lead {
		t.Error("the store whose device hangs still leads")
	}
	select {
	case res := <-read:
		if res.status != wire.StatusNotLeader {
			t.Errorf("a read that the device keeps is answered %v", res.status)
		}
	case <-time.After(10 * time.Second):
		t.Error("a read waits for the device though another replica leads")
	}
	r.wantRead(1, 0, block, pattern(5, 1))
	state, why := r.store(uint64(lead)).Health()
	if state != StateStalled || !errors.Is(why, ErrStalled) {
		t.Errorf("state %s, %v", state, why)
	}
	disks[lead].goOn()
	eventually(t, "it catches up", func() bool {
		return r.status(lead, 1).Applied == r.status(r.leader(1), 1).Applied
	})
}

func TestFullStoreGoesOnWithWhatItHas(t *testing.T) {
	r := newRig(t, 1, func(r *rig) { r.limit, r.patience = 8*testChunk, time.Second })
	s := r.store(0)
	s.countRoom()
	made := uint64(0)
	for r.write(1, made, 0, pattern(byte(made), 4)) == wire.StatusOK {
		made++
		if made > 20 {
			t.Fatal("never full")
		}
	}
	if state, why := s.Health(); state != StateFull || !errors.Is(why, disk.ErrNoSpace) {
		t.Fatalf("state %s, %v", state, why)
	}
	for c := range made {
		r.mustWrite(1, c, 4*block, pattern(byte(c+50), 2))
		r.wantRead(1, c, 0, append(pattern(byte(c), 4), pattern(byte(c+50), 2)...))
	}
	r.checkpoint(0) // everything that was admitted has a place
	if st := r.status(0, 1); st.OverlayBlocks != 0 {
		t.Errorf("%d blocks found no place", st.OverlayBlocks)
	}
	for c := range uint64(2) {
		zero := copyset.Request{Kind: copyset.KindZero, Length: testChunk,
			Chunk: copyset.Chunk{Volume: 1, Index: c}}
		if res := r.onLeader(1, zero, nil); res.status != wire.StatusOK {
			t.Errorf("a trim on a full store: %v", res.status)
		}
	}
	eventually(t, "there is room again", func() bool {
		r.checkpoint(0)
		s.countRoom()
		return r.write(1, 100, 0, pattern(9, 1)) == wire.StatusOK
	})
}

// smallRig is three stores, of which the first has room for few chunks.
func smallRig(t *testing.T) *rig {
	r := newRig(t, 3, func(r *rig) {
		r.patience = time.Second
		r.adapt = func(i int, cfg *Config) {
			if i == 0 {
				cfg.LimitBytes = 4 * testChunk
			}
		}
	})
	r.store(0).countRoom()
	return r
}

// leads has a store lead a copyset.
func (r *rig) leads(id uint64, i int) {
	r.t.Helper()
	eventually(r.t, "the store leads", func() bool {
		r.store(uint64(r.leader(id))).Transfer(id, uint64(i+1))
		return r.leader(id) == i
	})
}

// A full store whose followers were not in touch when it became so does not keep its leaderships,
// nor one that comes to lead when it is full already.
func TestFullStoreGivesAwayLaterWhatItHadToKeep(t *testing.T) {
	alone := newRig(t, 1, nil)
	alone.leader(1)
	o := alone.store(0).Owner(1)
	o.Do(func() {
		m := o.replicas[1]
		if o.giveForRoom(m, o.store.clock()); m.gaveAt != 0 {
			t.Error("a leadership that was kept counts as given away")
		}
	})

	r := smallRig(t)
	n := uint64(0)
	write := func(id uint64) wire.Status {
		n++
		return r.op(0, id, copyset.Request{Kind: copyset.KindWrite,
			Chunk: copyset.Chunk{Volume: 1, Index: n}}, pattern(byte(n), 1)).status
	}
	eventually(t, "it is full", func() bool {
		r.leads(2, 0)
		write(2)
		state, _ := r.store(0).Health()
		return state == StateFull
	})
	r.leads(1, 0)
	eventually(t, "another leads", func() bool {
		write(1)
		return r.leader(1) != 0
	})
}

// Where all are full a leadership does not go to and fro.
func TestFullStoreThatGaveALeadershipAwayKeepsItForAWhileIfItComesBack(t *testing.T) {
	r := newRig(t, 3, nil)
	lead := r.leader(1)
	o := r.store(uint64(lead)).Owner(1)
	give := func(now int64) (gaveAt int64) {
		o.Do(func() {
			m := o.replicas[1]
			o.giveForRoom(m, now)
			o.touch(m)
			gaveAt = m.gaveAt
		})
		return gaveAt
	}
	var first int64
	eventually(t, "it is given away", func() bool {
		r.leads(1, lead)
		first = give(o.store.clock())
		return first != 0
	})
	r.leads(1, lead)
	if again := give(first + int64(giveRest) - 1); again != first {
		t.Error("it is given away again at once")
	}
	eventually(t, "it is given away again", func() bool {
		r.leads(1, lead)
		return give(first+int64(giveRest)) != first
	})
}

func TestLeadersLeaveAFullStoreForOneWithRoom(t *testing.T) {
	r := smallRig(t)
	r.leads(1, 0)
	for c := range uint64(12) {
		res := r.onLeader(1, copyset.Request{Kind: copyset.KindWrite,
			Chunk: copyset.Chunk{Volume: 1, Index: c}}, pattern(byte(c), 1))
		for try := 0; res.status == wire.StatusNoSpace && try < 100; try++ {
			time.Sleep(20 * time.Millisecond) // as a client's application would
			res = r.onLeader(1, copyset.Request{Kind: copyset.KindWrite,
				Chunk: copyset.Chunk{Volume: 1, Index: c}}, pattern(byte(c), 1))
		}
		if res.status != wire.StatusOK {
			t.Fatalf("chunk %d: %v", c, res.status)
		}
	}
	if r.leader(1) == 0 {
		t.Error("the full store still leads")
	}
}
