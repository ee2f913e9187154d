package store

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
)

// lateRig is one store, so that nobody else can take its leaderships, on a disk that can hang.
func lateRig(t *testing.T) (*rig, *hung) {
	var d *hung
	r := newRig(t, 1, func(r *rig) {
		r.adapt = func(_ int, cfg *Config) {
			d = &hung{Disk: cfg.Disk}
			cfg.Disk, cfg.LateBound, cfg.StallBound = d, 300*time.Millisecond, 150*time.Millisecond
		}
	})
	t.Cleanup(d.goOn) // before the store closes
	return r, d
}

func TestRequestThatADiskKeepsMakesTheStoreLateThoughItAnswersWhoeverAsks(t *testing.T) {
	r, d := lateRig(t)
	r.mustWrite(1, 0, 0, pattern(1, 4))
	s := r.store(0)
	eventually(t, "nothing waits", func() bool { return s.Waiting().Age == 0 })
	eventually(t, "no trouble when nothing is wrong", func() bool { return s.Trouble() == nil })
	d.hang()
	began := time.Now()
	write := make(chan result, 1)
	go func() {
		write <- r.op(0, 1, copyset.Request{Kind: copyset.KindWrite,
			Chunk: copyset.Chunk{Volume: 1}}, pattern(2, 1))
	}()
	eventually(t, "the store is late", func() bool { return s.Late() != nil })
	if took := time.Since(began); took < 300*time.Millisecond || took > 10*time.Second {
		t.Errorf("late after %v", took)
	}
	rep := s.Report()
	w := rep.Waiting
	if w.Copyset != 1 || w.Op != "write" || w.Stage != "commit" || w.Age < 300*time.Millisecond ||
		w.Device < w.Age/2 {
		t.Errorf("waiting %+v", w)
	}
	if !errors.Is(rep.Late, ErrLate) || !strings.Contains(rep.Late.Error(), "a write has waited") ||
		!strings.Contains(rep.Late.Error(), "(copyset 1)") {
		t.Errorf("late: %v", rep.Late)
	}
	eventually(t, "it is stalled, which says more of it", func() bool {
		return errors.Is(s.Trouble(), ErrStalled)
	})
	if list, now := s.ReplicasNow(); len(list) != copysets || !now {
		t.Errorf("%d replicas are told of meanwhile", len(list))
	}
	d.goOn()
	<-write
	eventually(t, "nothing is late", func() bool { return s.Waiting().Age == 0 && s.Late() == nil })
}

func TestOwnerThatTakesNoTurnsIsLateAndKeepsNobodyWaiting(t *testing.T) {
	r, _ := lateRig(t)
	r.mustWrite(1, 0, 0, pattern(1, 1))
	s := r.store(0)
	known := len(s.Replicas())
	if !s.Alive() {
		t.Error("the store is not taken for alive")
	}
	before := s.Timing().Of(copyset.KindWrite, copyset.StageCommit).N
	answers := make(chan result) // nobody takes one: the owner hangs as it gives it
	o := s.Owner(1)
	o.Do(func() {})
	read := &copyset.Request{Kind: copyset.KindRead, Length: block,
		Chunk: copyset.Chunk{Volume: 1}, Tag: answers}
	if !o.Submit(1, read) {
		t.Fatal("not taken")
	}
	o.queue.kick()
	defer func() { <-answers }()
	eventually(t, "the store is late", func() bool { return s.Late() != nil })
	eventually(t, "it is known why", func() bool { return s.Waiting().Stage == stageOwner })
	writes := func() uint64 { return s.Timing().Of(copyset.KindWrite, copyset.StageCommit).N }
	for name, ask := range map[string]func() bool{
		"replicas": func() bool { return len(s.Replicas()) == known },
		"their rest": func() bool {
			_, rest := s.ReplicasAtRest()
			return rest == 0
		},
		"that they may be more by now": func() bool {
			list, now := s.ReplicasNow()
			return len(list) == known && !now
		},
		"a volume's end":  func() bool { return !s.DeleteVolume(9) },
		"times":           func() bool { return writes() == before },
		"the whole state": func() bool { return s.Stats().Waiting.Age > 0 },
	} {
		began := time.Now()
		if !ask() {
			t.Errorf("%s: not what was last known", name)
		}
		if took := time.Since(began); took > askTime {
			t.Errorf("%s waited %v for an owner that takes no turns", name, took)
		}
	}
	if s.Alive() {
		t.Error("the store is taken for alive")
	}
	if w := s.Waiting(); !strings.Contains(w.String(), "no turn for") {
		t.Errorf("%v", w)
	}
}
