package chunkfile

import (
	"errors"
	"testing"

	"github.com/ashlar-storage/ashlar/io/disk"
)

func TestCheckpointMakesDataAndTableDurable(t *testing.T) {
	sim, _, c := newChunk(t, nil)
	write(t, c, 0, 1, 2)
	if c.Version() != 0 || c.Applied() != 0 {
		t.Fatal(c.Version(), c.Applied())
	}
	checkpoint(t, c, 41)
	first := c.Version()
	write(t, c, 1, 22, 33)
	c.Zero(0, 1)
	checkpoint(t, c, 42)
	if c.Version() != first+1 {
		t.Fatal(c.Version(), first)
	}
	write(t, c, 5, 55) // after the checkpoint: the log's to redo
	again := reopen(t, sim.Crash(disk.CrashPlan{Keep: disk.KeepNothing}))
	got := get(t, again, idA)
	expect(t, got, 0, 0, 22, 33, 0, 0, 0)
	if got.Applied() != 42 || got.Version() != c.Version() || len(again.Damage()) != 0 {
		t.Fatal(got.Applied(), got.Version(), again.Damage())
	}
}

func TestCheckpointOfACleanChunkWritesNothing(t *testing.T) {
	sim, _, c := newChunk(t, nil)
	checkpoint(t, c, 1) // an empty chunk becomes durable too
	before := sim.Stats()
	called := false
	c.Checkpoint(2, func(err error) { called = err == nil })
	if after := sim.Stats(); !called || after != before {
		t.Fatalf("called %v, %+v then %+v", called, before, after)
	}
	again := reopen(t, sim.Crash(disk.CrashPlan{Keep: disk.KeepNothing}))
	expect(t, get(t, again, idA), 0, 0)
}

func TestOrderOfACheckpointIsDataTableSeal(t *testing.T) {
	sim, p, c := newChunk(t, nil)
	write(t, c, 0, 1)
	var steps []disk.Step
	sim.OnStep(func(s disk.Step) { steps = append(steps, s) })
	checkpoint(t, c, 1)
	g := p.geometry
	want := []disk.Step{
		{Kind: disk.StepSync, Name: c.slot.name},
		{Kind: disk.StepWrite, Name: c.slot.name, Off: g.halfOffset(0), Len: int64(g.metaSize)},
		{Kind: disk.StepWrite, Name: c.slot.name, Off: g.halfOffset(1), Len: headerPage},
	}
	if len(steps) != len(want) {
		t.Fatal(steps)
	}
	for i := range want {
		if steps[i] != want[i] {
			t.Errorf("step %d is %+v, want %+v", i, steps[i], want[i])
		}
	}
}

func TestAWriteDuringACheckpointStaysDirtyForTheNext(t *testing.T) {
	for _, kind := range []disk.StepKind{disk.StepSync, disk.StepWrite} {
		sim := disk.NewSim(disk.SimConfig{Inline: true})
		p := reopen(t, sim)
		c := create(t, p, idA)
		write(t, c, 0, 1)
		late := writeIO(1, 2)
		late.Done = func(*IO) {}
		fired := false
		sim.OnStep(func(s disk.Step) {
			if s.Kind == kind && !fired {
				fired = true
				c.Write(late)
				c.Zero(3, 1)
				sim.Flush()
			}
		})
		checkpoint(t, c, 1)
		if !fired || late.Err != nil || !c.Dirty() || p.Stats().Dirty != 1 {
			t.Fatal(fired, late.Err, c.Dirty(), p.Stats().Dirty)
		}
		sim.OnStep(nil)
		again := reopen(t, sim.Crash(disk.CrashPlan{Keep: disk.KeepNothing}))
		expect(t, get(t, again, idA), 0, 1, 0)
		checkpoint(t, c, 2)
		again = reopen(t, sim.Crash(disk.CrashPlan{Keep: disk.KeepNothing}))
		expect(t, get(t, again, idA), 0, 1, 2)
		if c.Dirty() || p.Stats().Dirty != 0 {
			t.Fatal("dirty after the second checkpoint")
		}
	}
}

func TestCheckpointsOfOneChunkAtOnceShareTheNext(t *testing.T) {
	sim := disk.NewSim(disk.SimConfig{Inline: true})
	p := reopen(t, sim)
	c := create(t, p, idA)
	write(t, c, 0, 1)
	var order []uint64
	ask := func(applied uint64) {
		c.Checkpoint(applied, func(err error) {
			if err != nil {
				t.Error(err)
			}
			order = append(order, applied)
		})
	}
	fired := false
	sim.OnStep(func(s disk.Step) {
		if s.Kind == disk.StepSync && !fired {
			fired = true
			c.Zero(0, 1)
			ask(12)
			ask(11)
		}
	})
	ask(10)
	if len(order) != 3 || order[0] != 10 || c.Applied() != 12 || c.Dirty() {
		t.Fatal(order, c.Applied(), c.Dirty())
	}
	if n := p.Stats().Checkpoints; n != 2 {
		t.Fatalf("%d versions written", n)
	}
}

func TestFailedCheckpointLeavesTheChunkDirtyAtTheOldVersion(t *testing.T) {
	broken := errors.New("broken")
	for name, breakIt := range map[string]func(*disk.Sim, *Pool){
		"sync": func(s *disk.Sim, _ *Pool) {
			s.FailSyncs(func(string) error { return broken })
		},
		"table": func(s *disk.Sim, _ *Pool) {
			s.FailWrites(func(string, int64) error { return broken })
		},
	} {
		sim, p, c := newChunk(t, nil)
		write(t, c, 0, 1)
		checkpoint(t, c, 1)
		version := c.Version()
		write(t, c, 0, 2)
		breakIt(sim, p)
		if err := checkpointErr(c, 2); !errors.Is(err, broken) || !errors.Is(err, disk.ErrIO) {
			t.Fatal(name, err)
		}
		if !c.Dirty() || c.Version() != version || c.Applied() != 1 {
			t.Fatal(name, c.Dirty(), c.Version(), c.Applied())
		}
		sim.FailSyncs(nil)
		sim.FailWrites(nil)
		checkpoint(t, c, 3)
		again := reopen(t, sim.Crash(disk.CrashPlan{Keep: disk.KeepNothing}))
		expect(t, get(t, again, idA), 0, 2)
	}
}

func TestDeleteAfterAFailedFirstCheckpointWritesTheSlotFree(t *testing.T) {
	twin, p, c := newChunk(t, nil)
	write(t, c, 0, 1)
	at := p.geometry.halfOffset(c.slot.inactive())
	checkpoint(t, c, 1)
	landed := contents(t, twin, c.slot.name, at, p.geometry.metaSize)

	sim, p, c := newChunk(t, nil)
	write(t, c, 0, 1)
	// The table lands although the device says that it failed.
	sim.FailWrites(func(name string, off int64) error {
		if off == at {
			sim.Corrupt(name, at, landed)
		}
		return errors.New("path lost")
	})
	if err := checkpointErr(c, 1); !errors.Is(err, disk.ErrIO) {
		t.Fatal(err)
	}
	sim.FailWrites(nil)
	crashed := reopen(t, sim.Crash(disk.CrashPlan{Keep: disk.KeepNothing}))
	if len(crashed.List(1)) != 1 {
		t.Fatal("the table did not land: the test shows nothing")
	}
	if err := p.Delete(idA); err != nil {
		t.Fatal(err)
	}
	again := reopen(t, sim.Crash(disk.CrashPlan{Keep: disk.KeepNothing}))
	if len(again.List(1)) != 0 || len(again.Damage()) != 0 {
		t.Fatal(again.List(1), again.Damage())
	}
}
