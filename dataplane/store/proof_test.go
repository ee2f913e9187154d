package store

import (
	"testing"

	"github.com/ashlar-storage/ashlar/io/disk"
)

func TestStoreThatWasPutBackIsLostAndRebuilt(t *testing.T) {
	r := newRig(t, 3, func(r *rig) {
		r.adapt = func(_ int, cfg *Config) { cfg.Unproven = true }
	})
	old := pattern(1, 2)
	r.mustWrite(1, 0, 0, old)
	lead := r.leader(1)
	back := (lead + 1) % 3
	r.settle(1)
	r.close(back)
	before := r.disks[back].Crash(disk.CrashPlan{Keep: disk.KeepAll})
	r.reopen(back)
	r.store(uint64(back)).Proven()
	r.mustWrite(1, 0, 0, pattern(2, 2))
	r.settle(1)
	mark := r.store(uint64(back)).LogMark()
	r.close(back)
	r.disks[back] = before
	r.open(back)
	s := r.store(uint64(back))
	found := s.LogMark()
	if found.Opened >= mark.End || found.Life == mark.Life {
		t.Fatalf("the log of the older disk goes to %d, that of the newer to %d", found.Opened,
			mark.End)
	}
	if err := s.Regressed(mark.End); err != nil {
		t.Fatal(err)
	}
	r.wantLost(back, 1)
	r.wantLost(back, 2)
	r.cutPower(back, disk.CrashPlan{Keep: disk.KeepNothing})
	r.open(back)
	r.wantLost(back, 1)
	r.replace(1, back)
	r.awaitVoters(1, back)
	r.close(3 - lead - back) // the new member is needed for every majority now
	r.wantRead(1, 0, 0, pattern(2, 2))
}

func TestLogMarkNeverFallsOverRestartsAndPowerCuts(t *testing.T) {
	r := newRig(t, 1, nil)
	s := r.store(0)
	for i := range 12 {
		r.mustWrite(1, uint64(i%3), 0, pattern(byte(i), 40))
		if i%4 == 1 {
			r.checkpoint(0)
		}
		mark := s.LogMark()
		if mark.End <= mark.Opened {
			t.Fatalf("after a write: %+v", mark)
		}
		if i%2 == 0 {
			r.cutPower(0, disk.CrashPlan{Keep: disk.KeepNothing})
			r.open(0)
		} else {
			r.reopenQuietly(0)
		}
		s = r.store(0)
		if now := s.LogMark(); now.Opened < mark.End {
			t.Fatalf("opened at %d, reached %d before", now.Opened, mark.End)
		}
		if err := s.Regressed(mark.End); err != nil || s.isLost(1) != nil {
			t.Fatalf("a sound store is taken for one that was put back: %v", err)
		}
	}
}
