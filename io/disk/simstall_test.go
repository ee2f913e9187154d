package disk

import (
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
)

func anything(Kind, string, int64) bool { return true }

func TestAStalledOperationCompletesOnlyWhenReleased(t *testing.T) {
	e, s := newSimEnv(t, SimConfig{Inline: true})
	f, other := e.create("a", 4*BlockSize), e.create("b", BlockSize)
	release := s.Stall(func(kind Kind, name string, off int64) bool {
		return name == "a" && (kind != Read || off == BlockSize)
	})
	var done []string
	submit := func(f File, kind Kind, off int64) {
		op := &Op{Kind: kind, Off: off}
		if kind != Sync {
			op.Vec = [][]byte{e.fill('w')}
		}
		op.Done = func(op *Op) {
			done = append(done, fmt.Sprintf("%v %s+%d %v", kind, f.Name(), off, op.Err))
		}
		f.Submit(op)
	}
	submit(f, Write, 0)
	submit(f, Read, 0)
	submit(f, Read, BlockSize)
	submit(f, Sync, 0)
	submit(other, Write, 0)
	s.Flush()
	want := []string{"read a+0 <nil>", "write b+0 <nil>"}
	if !slices.Equal(done, want) {
		t.Errorf("done during the stall: %q", done)
	}
	release()
	release() // nothing more to do
	want = append(want, "write a+0 <nil>", "read a+4096 <nil>", "sync a+0 <nil>")
	if !slices.Equal(done, want) {
		t.Errorf("done after it: %q", done)
	}
	submit(f, Write, 0)
	s.Flush()
	if len(done) != len(want)+1 {
		t.Error("the stall goes on after its release")
	}
}

func TestAStalledWriteIsReadButNotDurable(t *testing.T) {
	e, s := newSimEnv(t, SimConfig{})
	f := e.create("a", BlockSize)
	release := s.Stall(anything)
	var done atomic.Bool
	ended := make(chan error)
	p := e.fill('w')
	go func() {
		err := f.WriteVec([][]byte{p}, 0, true)
		done.Store(true)
		ended <- err
	}()
	for len(s.Unsynced()) == 0 {
		runtime.Gosched()
	}
	if got := content(t, s, "a"); got[0] != 'w' {
		t.Errorf("reads see %q", got[0])
	}
	if got := content(t, s.Crash(CrashPlan{Keep: KeepNothing}), "a"); got[0] != 0 {
		t.Errorf("durable during the stall: %q", got[0])
	}
	if done.Load() {
		t.Error("the write ended during the stall")
	}
	release()
	e.no(<-ended)
	if got := content(t, s.Crash(CrashPlan{Keep: KeepNothing}), "a"); got[0] != 'w' {
		t.Errorf("after the stall %q is durable", got[0])
	}
}

func TestCloseWaitsForWhatIsStalled(t *testing.T) {
	e, s := newSimEnv(t, SimConfig{})
	f := e.create("a", BlockSize)
	release := s.Stall(anything)
	var done atomic.Bool
	f.Submit(&Op{Kind: Write, Vec: [][]byte{e.fill('w')}, Done: func(*Op) { done.Store(true) }})
	s.Flush()
	closed := make(chan bool)
	go func() {
		e.no(f.Close())
		closed <- done.Load()
	}()
	select {
	case <-closed:
		t.Fatal("closed while an operation was under way")
	default:
	}
	release()
	if !<-closed {
		t.Error("closed before the operation was done")
	}
}

func TestASecondStallReleasesTheFirst(t *testing.T) {
	e, s := newSimEnv(t, SimConfig{Inline: true})
	f := e.create("a", BlockSize)
	s.Stall(anything)
	done := 0
	f.Submit(&Op{Kind: Read, Vec: [][]byte{e.block(1)}, Done: func(*Op) { done++ }})
	s.Flush()
	release := s.Stall(func(kind Kind, _ string, _ int64) bool { return kind == Sync })
	if done != 1 {
		t.Error("what the first stall held is not done")
	}
	_, err := f.ReadAt(e.block(1), 0)
	e.no(err)
	release()
}
