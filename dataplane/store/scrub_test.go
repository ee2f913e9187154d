package store

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/io/chunkfile"
	"github.com/ashlar-storage/ashlar/io/disk"
)

func TestScrubKeepsItsPaceAndYieldsToClientsForAWhile(t *testing.T) {
	const ms = int64(time.Millisecond)
	p := scrubPace{rate: 1 << 20} // a MiB in a second: 64 KiB in 62.5 ms
	now, pieces := int64(0), 0
	run := func(d time.Duration, busy bool) (n int) {
		for end := now + int64(d); now < end; now += 5 * ms {
			if p.step(now, 5*ms, 64<<10, busy) {
				n++
			}
		}
		return n
	}
	if pieces = run(10*time.Second, false); pieces < 155 || pieces > 162 {
		t.Errorf("%d pieces in ten idle seconds, want 160", pieces)
	}
	if pieces = run(10*time.Second, true); pieces < 50 || pieces > 100 {
		t.Errorf("%d pieces while clients are never done, want one in a while", pieces)
	}
	now += 60 * 1000 * ms // a pause is not made up for
	if pieces = run(time.Second, false); pieces > 18 {
		t.Errorf("%d pieces in the second after a pause", pieces)
	}
}

// scrubRig is three stores that scrub as fast as they can, or not at all.
func scrubRig(t *testing.T, on bool) *rig {
	return newRig(t, 3, func(r *rig) {
		r.adapt = func(_ int, cfg *Config) {
			cfg.ScrubPeriod = time.Hour
			if cfg.ScrubBytes = 1 << 30; !on {
				cfg.ScrubBytes = -1
			}
		}
	})
}

func TestScrubberFindsAndRepairsABadBlockThatNobodyReads(t *testing.T) {
	r := scrubRig(t, false)
	want := pattern(1, 4)
	r.mustWrite(1, 0, 0, want)
	for i := range 3 {
		eventually(t, "all have it", func() bool {
			return r.status(i, 1).Applied == r.status(r.leader(1), 1).Applied
		})
		r.checkpoint(i)
	}
	follower := (r.leader(1) + 1) % 3
	if !r.corrupt(follower, want[block:2*block]) {
		t.Fatal("the block is not in a chunk file")
	}
	s := r.store(uint64(follower))
	if n := s.Report().CorruptBlocks; n != 0 {
		t.Fatalf("%d bad blocks before anybody looked", n)
	}
	for range 1 + 2*testChunk/block/scrubBlocks {
		s.scrubPiece()
	}
	rep := s.ScrubReport()
	if rep.Bad != 1 || rep.Repaired != 1 || len(rep.Findings) != 1 ||
		!strings.Contains(rep.Findings[0], "copyset 1, volume 1, chunk 0: bad blocks [1]") {
		t.Fatalf("%+v", rep)
	}
	if rep.Finished.IsZero() || rep.Percent != 100 {
		t.Errorf("the cycle has not ended: %+v", rep)
	}
	r.checkpoint(follower) // the good bytes go to the chunk file
	bad, _ := s.scrubRead(chunkfile.ID{Group: 1, Volume: 1}, 0, scrubBlocks)
	if len(bad) != 0 {
		t.Errorf("blocks %v are bad still", bad)
	}
}

func TestScrubberGoesOnAfterARestartWhereItWas(t *testing.T) {
	r := scrubRig(t, false)
	for c := range uint64(3) {
		r.mustWrite(1, c, 0, pattern(byte(c), 1))
	}
	r.checkpoint(0)
	s := r.store(0)
	for range testChunk/block/scrubBlocks + 3 {
		s.scrubPiece()
	}
	before := s.scrub
	if before.ID.Index != 1 || before.Block != 3*scrubBlocks {
		t.Fatalf("at %+v", before)
	}
	s.saveScrub()
	r.close(0)
	r.reopen(0)
	if now := r.store(0).scrub; now.ID != before.ID || now.Block != before.Block ||
		now.Checked != before.Checked || now.Cycle != before.Cycle {
		t.Errorf("goes on at %+v, was at %+v", now, before)
	}
	r.close(0)
	r.disks[0] = r.disks[0].Crash(disk.CrashPlan{Keep: disk.KeepNothing})
	data, err := r.disks[0].ReadFile(scrubFile)
	if err != nil {
		t.Fatal(err)
	}
	rotten := bytes.Replace(data, []byte(`"block": 48`), []byte(`"block": 99`), 1)
	if err := r.disks[0].WriteFile(scrubFile, rotten); err != nil {
		t.Fatal(err)
	}
	r.open(0)
	if now := r.store(0).scrub; now.Block != 0 || now.Cycle != 1 {
		t.Errorf("a rotten place is taken: %+v", now)
	}
}

func TestScrubberPassesEveryChunkWithoutAskingForAllOfThemEachTime(t *testing.T) {
	r := scrubRig(t, false)
	for c := range uint64(4) {
		r.mustWrite(1, c, 0, pattern(byte(c), 1))
	}
	r.checkpoint(0)
	s := r.store(0)
	per := testChunk / block / scrubBlocks
	for range per {
		s.scrubPiece()
	}
	if rep := s.ScrubReport(); rep.Percent != 25 {
		t.Errorf("one chunk of four: %d %%", rep.Percent)
	}
	s.scrubPiece()
	at := s.scrub
	if at.ID.Index != 1 || at.Block != scrubBlocks {
		t.Fatalf("at %+v", at)
	}
	if n := testing.AllocsPerRun(100, func() {
		if id, ok := s.nextChunk(at.ID, true); !ok || id != at.ID {
			t.Errorf("%v, %v", id, ok)
		}
	}); n != 0 {
		t.Errorf("the next piece of a chunk costs %v allocations", n)
	}
	for _, c := range []uint64{1, 2} {
		if err := s.chunks.Delete(chunkfile.ID{Group: 1, Volume: 1, Index: c}); err != nil {
			t.Fatal(err)
		}
	}
	s.scrubPiece()
	if s.scrub.ID.Index != 3 || s.scrub.Block != scrubBlocks {
		t.Errorf("goes on at %+v, want the chunk behind those that are gone", s.scrub)
	}
}

func TestScrubberRunsByItselfAndRestsWhenItIsDone(t *testing.T) {
	r := scrubRig(t, true)
	r.mustWrite(1, 0, 0, pattern(1, 4))
	r.checkpoint(0)
	s := r.store(0)
	eventually(t, "a cycle ends", func() bool { return !s.ScrubReport().Finished.IsZero() })
	if !s.cycleRests() {
		t.Error("the next cycle begins at once")
	}
	r.mustWrite(1, 0, block, pattern(2, 1))
}

func TestScrubberReadsAPieceThatWasRefusedBeforeItGoesOn(t *testing.T) {
	r := scrubRig(t, false)
	want := pattern(1, 4)
	r.mustWrite(1, 0, 0, want)
	for i := range 3 {
		eventually(t, "all have it", func() bool {
			return r.status(i, 1).Applied == r.status(r.leader(1), 1).Applied
		})
		r.checkpoint(i)
	}
	follower := (r.leader(1) + 1) % 3
	if !r.corrupt(follower, want[block:2*block]) {
		t.Fatal("the block is not in a chunk file")
	}
	s := r.store(uint64(follower))
	o := s.Owner(1)
	var away *member
	o.Do(func() {
		away = o.replicas[1]
		delete(o.replicas, 1)
	})
	for range scrubTries - 1 {
		s.scrubPiece()
	}
	if s.scrub.Block != 0 || s.scrub.Checked != 0 || s.scrub.Skipped != 0 {
		t.Fatalf("it went on: %+v", s.scrub)
	}
	o.Do(func() { o.replicas[1] = away })
	s.scrubPiece()
	if rep := s.ScrubReport(); rep.Bad != 1 || rep.Checked != scrubBlocks {
		t.Fatalf("%+v", rep)
	}
	o.Do(func() { delete(o.replicas, 1) })
	for range scrubTries + 1 { // whoever never answers does not keep the cycle from its end
		s.scrubPiece()
	}
	o.Do(func() { o.replicas[1] = away })
	if s.scrub.Skipped != testChunk/block-scrubBlocks || s.scrub.Finished <= s.scrub.Started {
		t.Errorf("%+v", s.scrub)
	}
}

func TestScrubberGoesOnWhenTheClockIsSetBack(t *testing.T) {
	r := scrubRig(t, false)
	r.mustWrite(1, 0, 0, pattern(1, 4))
	eventually(t, "it has it", func() bool {
		return r.status(0, 1).Applied == r.status(r.leader(1), 1).Applied
	})
	r.checkpoint(0)
	s := r.store(0)
	s.scrub.Started = time.Now().Add(24 * time.Hour).UnixNano()
	cycles := s.scrub.Cycle
	for range 10 * testChunk / block / scrubBlocks {
		if !s.cycleRests() {
			s.scrubPiece()
		}
	}
	if got := s.scrub.Cycle - cycles; got != 1 || !s.cycleRests() {
		t.Errorf("%d cycles began, want one that is by the new clock: %+v", got, s.scrub)
	}
	if s.scrub.Checked != testChunk/block {
		t.Errorf("%d blocks checked in it", s.scrub.Checked)
	}
}

func TestScrubberThatIsOffReadsNothing(t *testing.T) {
	r := scrubRig(t, false)
	r.mustWrite(1, 0, 0, pattern(1, 4))
	eventually(t, "it has it", func() bool {
		return r.status(0, 1).Applied == r.status(r.leader(1), 1).Applied
	})
	r.checkpoint(0)
	s := r.store(0)
	done := make(chan struct{})
	go func() {
		s.scrubber()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("it runs")
	}
	if rep := s.ScrubReport(); rep.On || rep.Checked != 0 {
		t.Errorf("%+v", rep)
	}
}

func TestFindingsAreBounded(t *testing.T) {
	var c scrubState
	for i := range uint64(100) {
		c.note(chunkfile.ID{Group: i}, make([]uint32, 1000), 0)
	}
	newest := c.Findings[len(c.Findings)-1]
	if len(c.Findings) != maxFindings || !strings.Contains(newest, "copyset 99") {
		t.Errorf("%d findings, the newest %s", len(c.Findings), newest)
	}
	for _, f := range c.Findings {
		if len(f) > 300 {
			t.Errorf("a finding of %d bytes", len(f))
		}
	}
}
