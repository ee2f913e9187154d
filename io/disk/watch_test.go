package disk

import (
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/io/buf"
)

// stuck is a disk of one block whose operations end when they are told to.
type stuck struct {
	Disk
	ops   []*Op
	block chan struct{}
}

type stuckFile struct {
	File
	disk *stuck
}

func (s *stuck) Open(string) (File, error) { return &stuckFile{disk: s}, nil }

func (f *stuckFile) Submit(op *Op) { op.File = f; f.disk.ops = append(f.disk.ops, op) }

func (f *stuckFile) WriteVec([][]byte, int64, bool) error { <-f.disk.block; return nil }

func (s *stuck) finish() {
	op := s.ops[0]
	s.ops = s.ops[1:]
	op.Done(op)
}

func TestAgeIsThatOfTheOldestOperationThatAClientMayWaitFor(t *testing.T) {
	d := &stuck{block: make(chan struct{})}
	w := Watch(d)
	f, err := w.Open("a")
	if err != nil {
		t.Fatal(err)
	}
	pass := func(d time.Duration) { w.began = w.began.Add(-d) }
	done := 0
	ended := func(op *Op) {
		if op.File != f {
			t.Error("the operation comes back with another file")
		}
		done++
	}
	if age := w.Oldest(); age != 0 {
		t.Errorf("idle: %v", age)
	}
	f.Submit(&Op{Kind: Sync, Done: func(*Op) {}})
	f.Submit(&Op{Kind: Write, Done: func(*Op) {}})
	pass(time.Hour)
	if age := w.Oldest(); age != 0 {
		t.Errorf("a sync and a lazy write count: %v", age)
	}
	f.Submit(&Op{Kind: Read, Done: ended})
	pass(time.Second)
	f.Submit(&Op{Kind: Write, Durable: true, Done: ended})
	pass(time.Second)
	if age := w.Oldest(); age < 2*time.Second || age > 3*time.Second {
		t.Errorf("oldest %v, want 2 s", age)
	}
	d.ops = d.ops[2:]
	d.finish()
	if age := w.Oldest(); age < time.Second || age > 2*time.Second {
		t.Errorf("once that has ended: %v, want 1 s", age)
	}
	d.finish()
	if age := w.Oldest(); age != 0 || done != 2 {
		t.Errorf("all %d have ended: %v", done, age)
	}
}

func TestBlockingWritesAreTimedToo(t *testing.T) {
	d := &stuck{block: make(chan struct{})}
	w := Watch(d)
	f, err := w.Open("a")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = f.WriteVec(nil, 0, true); close(ended) }()
	for w.Oldest() < 10*time.Millisecond {
		time.Sleep(time.Millisecond)
	}
	d.block <- struct{}{}
	<-ended
	if age := w.Oldest(); age != 0 {
		t.Errorf("%v", age)
	}
}

func TestWatchingAllocatesNothing(t *testing.T) {
	pool, err := buf.NewPool(buf.Config{Bytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	b, err := pool.Get(BlockSize)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Release()
	w := Watch(NewSim(SimConfig{Inline: true}))
	f, err := w.Create("a", BlockSize)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := w.Disk.Create("b", BlockSize)
	if err != nil {
		t.Fatal(err)
	}
	cost := func(f File) float64 {
		done := func(*Op) {}
		op := &Op{Kind: Read, Vec: [][]byte{b.Bytes()}}
		return testing.AllocsPerRun(100, func() {
			op.Done = done
			f.Submit(op)
			w.Flush()
		})
	}
	if watched, bare := cost(f), cost(plain); watched > bare {
		t.Errorf("%v allocations, %v without", watched, bare)
	}
}

func BenchmarkWatch(b *testing.B) {
	w := Watch(NewSim(SimConfig{}))
	for b.Loop() {
		w.enter().leave()
	}
}
