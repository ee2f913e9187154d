package store

import (
	"encoding/json"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// wallClock is the time of day of a test's stores.
type wallClock struct{ at atomic.Int64 }

func (c *wallClock) now() time.Time { return time.Unix(0, c.at.Load()) }

func (c *wallClock) set(hour, minute int) {
	c.at.Store(time.Date(2030, 1, 6, hour, minute, 0, 0, time.UTC).UnixNano())
}

// windowRig is three stores that scrub as fast as they can, at a time of day of their own: noon.
func windowRig(t *testing.T, on bool) (*rig, *wallClock) {
	clock := &wallClock{}
	clock.set(12, 0)
	return newRig(t, 3, func(r *rig) {
		r.adapt = func(_ int, cfg *Config) {
			cfg.Now, cfg.ScrubPeriod = clock.now, time.Hour
			if cfg.ScrubBytes = 1 << 30; !on {
				cfg.ScrubBytes = -1
			}
		}
	}), clock
}

func TestScrubberReadsWithinItsWindowsOnlyAndGoesOnWhereItWas(t *testing.T) {
	r, clock := windowRig(t, false)
	for c := range uint64(3) {
		r.mustWrite(1, c, 0, pattern(byte(c), 1))
	}
	r.settle(1)
	s := r.store(0)
	pace := scrubPace{rate: 1 << 40}
	turns := func(n int) (last time.Duration) {
		for range n {
			time.Sleep(2 * time.Millisecond) // of the disk, which counts as a client
			last = s.scrubTurn(&pace)
		}
		return last
	}
	if err := s.SetScrubWindows("22:00-06:00", "UTC"); err != nil {
		t.Fatal(err)
	}
	if wait := turns(20); wait != scrubRest || s.scrub.ID.Index != 0 || s.scrub.Block != 0 {
		t.Errorf("at noon it waits %v, and is at %+v", wait, s.scrub)
	}
	night := time.Date(2030, 1, 6, 22, 0, 0, 0, time.UTC)
	if rep := s.ScrubReport(); !rep.Waits || !rep.Opens.Equal(night) {
		t.Errorf("it says %+v", rep)
	}
	clock.set(23, 0)
	eventually(t, "it has read some", func() bool { turns(1); return s.scrub.Block > 0 })
	if rep := s.ScrubReport(); rep.Waits || !rep.Opens.IsZero() {
		t.Errorf("in its window it says %+v", rep)
	}
	clock.set(6, 0) // of the same day, which is as good
	before := s.scrub
	turns(20)
	if s.scrub.Block != before.Block || s.scrub.ID != before.ID {
		t.Errorf("it went on from %+v to %+v", before, s.scrub)
	}
	// The next start knows the place and the windows, without a control plane.
	s.saveScrub()
	r.close(0)
	r.reopen(0)
	s = r.store(0)
	if wait := turns(20); wait != scrubRest || s.scrub.Block != before.Block ||
		s.scrub.ID != before.ID || !s.ScrubReport().Waits {
		t.Errorf("after a restart it waits %v, at %+v, was at %+v", wait, s.scrub, before)
	}
	if err := s.SetScrubWindows("", ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, "without windows it goes on", func() bool {
		turns(1)
		return s.scrub.Block != before.Block
	})
}

func TestScrubberThatRunsWaitsForItsWindow(t *testing.T) {
	r, clock := windowRig(t, true)
	s := r.store(0)
	eventually(t, "a cycle ends", func() bool { return !s.ScrubReport().Finished.IsZero() })
	if err := s.SetScrubWindows("22:00-06:00", ""); err != nil {
		t.Fatal(err)
	}
	s.scrubMu.Lock()
	s.scrub.Started -= int64(2 * time.Hour) // the next is due
	s.scrub.Finished = s.scrub.Started + 1
	cycle := s.scrub.Cycle
	s.scrubMu.Unlock()
	time.Sleep(2500 * time.Millisecond)
	if got := s.ScrubReport().Cycle; got != cycle {
		t.Errorf("cycle %d began outside of the window", got)
	}
	clock.set(22, 0)
	eventually(t, "the next cycle begins", func() bool { return s.ScrubReport().Cycle > cycle })
}

func TestScrubberHasLessTimeForACycleWithWindows(t *testing.T) {
	r, _ := windowRig(t, false)
	s := r.store(0)
	s.cfg.ScrubPeriod = time.Hour
	s.scrubWay.total, s.scrub.Started = 1999, time.Now().UnixNano()
	whole := s.scrubPatience()
	if err := s.SetScrubWindows("00:00-12:00", ""); err != nil {
		t.Fatal(err)
	}
	if half := s.scrubPatience(); half < whole*45/100 || half > whole*55/100 {
		t.Errorf("patience %v with half of the time, %v with all", half, whole)
	}
}

func TestScrubWindowsThatCannotBeReadChangeNothing(t *testing.T) {
	r, _ := windowRig(t, false)
	s := r.store(0)
	if err := s.SetScrubWindows("22:00-06:00", ""); err != nil {
		t.Fatal(err)
	}
	if err := s.SetScrubWindows("at full moon", ""); err == nil {
		t.Error("taken")
	}
	if !s.ScrubReport().Waits {
		t.Error("the windows are gone")
	}
	r.close(0)
	r.disks[0] = r.disks[0].Crash(disk.CrashPlan{Keep: disk.KeepNothing})
	data, err := r.disks[0].ReadFile(scrubFile)
	if err != nil {
		t.Fatal(err)
	}
	c, err := decodeScrub(data)
	if err != nil {
		t.Fatal(err)
	}
	c.Windows = "at full moon" // of another release
	c.CRC = c.sum()
	if data, err = json.Marshal(&c); err != nil {
		t.Fatal(err)
	}
	if err := r.disks[0].WriteFile(scrubFile, data); err != nil {
		t.Fatal(err)
	}
	r.open(0)
	if rep := r.store(0).ScrubReport(); rep.Waits {
		t.Errorf("it waits for what it cannot read: %+v", rep)
	}
}
