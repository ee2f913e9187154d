package store

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/chunkfile"
	"github.com/ashlar-storage/ashlar/io/disk"
)

// pieces counts those that a scrubber reads in a time, when each takes so long.
func (p *scrubPace) pieces(now *int64, d, each, patience time.Duration, client bool) (n int) {
	for end := *now + int64(d); *now < end; {
		if client {
			p.clients(*now, p.ops+1, false)
		}
		if wait := p.step(*now, patience); wait > 0 {
			*now += int64(wait)
			continue
		}
		*now += int64(each)
		p.spend(*now, 64<<10)
		n++
	}
	return n
}

func TestScrubKeepsItsPaceAndYieldsToClientsForAWhile(t *testing.T) {
	p := scrubPace{rate: 1 << 20} // a MiB in a second: 64 KiB in 62.5 ms
	now := int64(0)
	if n := p.pieces(&now, 10*time.Second, 0, scrubMost, false); n < 155 || n > 162 {
		t.Errorf("%d pieces in ten idle seconds, want 160", n)
	}
	if n := p.pieces(&now, 10*time.Second, 0, scrubMost, true); n < 30 || n > 41 {
		t.Errorf("%d pieces while clients are never done, want one in a while", n)
	}
	now += int64(time.Minute) // a pause is not made up for
	if n := p.pieces(&now, time.Second, 0, scrubMost, false); n > 18 {
		t.Errorf("%d pieces in the second after a pause", n)
	}
}

func TestScrubIsAsFastAsItsRateAndItsDevice(t *testing.T) {
	for _, c := range []struct {
		rate  int64
		each  time.Duration // of a piece
		least int           // pieces in a second
		most  int
	}{
		{100 << 20, 200 * time.Microsecond, 1550, 1640},
		{400 << 20, 100 * time.Microsecond, 6200, 6740},
		{1 << 40, 100 * time.Microsecond, 9990, 10000},
		{1 << 40, 5 * time.Millisecond, 199, 201},
	} {
		p, now := scrubPace{rate: c.rate}, int64(0)
		n := p.pieces(&now, time.Second, c.each, scrubMost, false)
		if n < c.least || n > c.most {
			t.Errorf("rate %d, %v each: %d pieces in a second, want %d to %d", c.rate, c.each, n,
				c.least, c.most)
		}
	}
}

func TestScrubYieldsLessWhereTheCycleWouldNotEndInItsPeriod(t *testing.T) {
	r := scrubRig(t, false)
	s := r.store(0)
	s.cfg.ScrubPeriod = time.Hour
	for _, c := range []struct {
		total int // chunks of 16 pieces, none of them read
		spent time.Duration
		want  time.Duration
	}{
		{99, 0, scrubMost},
		{9999, 0, 11 * time.Millisecond}, // 160,000 pieces in half an hour
		{1999, 0, 56 * time.Millisecond},
		{9999, 40 * time.Minute, scrubLeast},
		{9999, 2 * time.Hour, scrubLeast},
		{1 << 24, 0, scrubLeast},
	} {
		s.scrubWay.total = c.total
		s.scrub.Started = time.Now().Add(-c.spent).UnixNano()
		if got := s.scrubPatience(); got.Round(time.Millisecond) != c.want {
			t.Errorf("%d chunks, %v spent: %v, want %v", c.total, c.spent, got, c.want)
		}
	}
	p, now := scrubPace{rate: 1 << 40}, int64(0)
	if n := p.pieces(&now, time.Second, 0, 10*time.Millisecond, true); n < 90 || n > 101 {
		t.Errorf("%d pieces beside clients in a second, want one in 10 ms", n)
	}
	p = scrubPace{rate: 1 << 40, last: now}
	for due := now + int64(10*time.Millisecond); now < due; now += int64(time.Millisecond) {
		p.clients(now, p.ops+1, true)
		if p.step(now, 10*time.Millisecond) == 0 {
			t.Fatal("it does not wait for its turn")
		}
	}
	p.clients(now, p.ops+1, true)
	if wait := p.step(now, 10*time.Millisecond); wait != scrubNap {
		t.Errorf("in its turn it does not wait for a gap: %v", wait)
	}
	p.clients(now, p.ops+1, false)
	if wait := p.step(now, 10*time.Millisecond); wait != 0 {
		t.Errorf("in a gap it waits: %v", wait)
	}
}

func TestScrubSeesWhatClientsAskOfLeadersAndFollowers(t *testing.T) {
	r := scrubRig(t, false)
	before := [3]uint64{}
	for i := range r.stores {
		before[i] = r.store(uint64(i)).clientOps.Load()
	}
	r.mustWrite(1, 0, 0, pattern(1, 1))
	for i := range r.stores {
		eventually(t, "the write is seen", func() bool {
			return r.store(uint64(i)).clientOps.Load() > before[i]
		})
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
	follower := r.rotFollower(want)
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
	p, _ := s.scrubRead(chunkfile.ID{Group: 1, Volume: 1}, 0, scrubBlocks)
	if len(p.Bad) != 0 {
		t.Errorf("blocks %v are bad still", p.Bad)
	}
}

// scrubCycle has a store pass everything once.
func (r *rig) scrubCycle(i int) Scrub {
	r.t.Helper()
	s := r.store(uint64(i))
	if s.scrub.Finished > s.scrub.Started {
		s.scrub.Started -= int64(s.cfg.ScrubPeriod) // it has rested long enough
	}
	if s.cycleRests() {
		r.t.Fatal("the next cycle does not begin")
	}
	for s.scrub.Finished < s.scrub.Started {
		s.scrubPiece()
	}
	return s.ScrubReport()
}

func TestCountsOfAScrubberMeanWhatTheirNamesSay(t *testing.T) {
	r := scrubRig(t, false)
	want := pattern(1, 4)
	r.mustWrite(1, 0, 0, want)
	r.settle(1)
	follower := (r.leader(1) + 1) % 3
	if !r.corrupt(follower, want[block:2*block]) {
		t.Fatal("block 1 is not in a chunk file")
	}
	for i := range 3 { // nobody has a good copy of block 2
		if !r.corrupt(i, want[2*block:3*block]) {
			t.Fatal("block 2 is not in a chunk file")
		}
	}
	rep := r.scrubCycle(follower)
	if rep.Checked != 4 || rep.CycleBad != 2 || rep.Bad != 2 || rep.Repaired != 1 ||
		rep.Unrepaired != 1 || len(rep.Findings) != 2 {
		t.Fatalf("one repaired and one lost: %+v", rep)
	}
	r.checkpoint(follower)
	rep = r.scrubCycle(follower)
	if rep.Checked != 4 || rep.CycleBad != 1 || rep.Bad != 2 || rep.Repaired != 1 ||
		rep.Unrepaired != 1 || len(rep.Findings) != 2 {
		t.Errorf("the lost one is met again: %+v", rep)
	}
	r.close(follower)
	r.reopen(follower)
	r.mustWrite(1, 0, 2*block, pattern(9, 1))
	r.settle(1)
	rep = r.scrubCycle(follower)
	if rep.CycleBad != 0 || rep.Bad != 2 || rep.Repaired != 1 || rep.Unrepaired != 0 {
		t.Errorf("the lost one was written anew: %+v", rep)
	}
}

func TestScrubberFindsMetadataThatTheDeviceLostWhileItIsInMemory(t *testing.T) {
	r := scrubRig(t, false)
	want := pattern(1, 4)
	r.mustWrite(1, 0, 0, want)
	r.settle(1)
	if rep := r.scrubCycle(0); rep.BadMeta != 0 {
		t.Fatalf("before anything is wrong: %+v", rep)
	}
	id := chunkfile.ID{Group: 1, Volume: 1}
	chunk, ok := r.store(0).chunks.Get(id)
	if !ok {
		t.Fatal("no chunk")
	}
	file := fmt.Sprintf("%s/slot-%010d", chunkDir, chunk.Slot())
	r.disks[0].Corrupt(file, 0, make([]byte, 2*block))
	rep := r.scrubCycle(0)
	if rep.BadMeta != 1 || rep.RepairedMeta != 1 || len(rep.Findings) != 1 ||
		!strings.Contains(rep.Findings[0], "its metadata was not what was written") {
		t.Fatalf("%+v", rep)
	}
	if rep := r.scrubCycle(0); rep.BadMeta != 1 {
		t.Errorf("again: %+v", rep)
	}
	r.close(0)
	r.reopen(0)
	for _, st := range r.store(0).Replicas() {
		if st.Err != nil {
			t.Errorf("a replica is lost: %v", st.Err)
		}
	}
	if rep := r.scrubCycle(0); rep.Checked != 4 || rep.CycleBad != 0 {
		t.Errorf("after a restart: %+v", rep)
	}
}

// rotFollower writes to copyset 1, and spoils the second block in the chunk file of a follower.
func (r *rig) rotFollower(data []byte) (follower int) {
	r.t.Helper()
	r.mustWrite(1, 0, 0, data)
	r.settle(1)
	follower = (r.leader(1) + 1) % 3
	if !r.corrupt(follower, data[block:2*block]) {
		r.t.Fatal("the block is not in a chunk file")
	}
	return follower
}

// settle waits until all stores have what was written to a copyset, in their chunk files.
func (r *rig) settle(id uint64) {
	r.t.Helper()
	for i := range r.stores {
		eventually(r.t, "all have it", func() bool {
			return r.status(i, id).Applied == r.status(r.leader(id), id).Applied
		})
		r.checkpoint(i)
	}
}

func TestScrubberGoesOnAfterARestartWhereItWas(t *testing.T) {
	r := scrubRig(t, false)
	for c := range uint64(3) {
		r.mustWrite(1, c, 0, pattern(byte(c), 1))
	}
	r.settle(1)
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
	r.settle(1)
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
	follower := r.rotFollower(want)
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
	if rep := s.ScrubReport(); rep.Bad != 1 || rep.Checked != 4 {
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
	if s.scrub.Checked != 4 {
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
		p := &copyset.PeerRead{Count: 1000}
		for n := range p.Count {
			p.Bad = append(p.Bad, n)
		}
		if i%2 == 0 {
			p.Lost = p.Bad
		}
		c.note(chunkfile.ID{Group: i}, p)
	}
	newest := c.Findings[len(c.Findings)-1]
	if len(c.Findings) != maxFindings || !strings.Contains(newest, "copyset 99") {
		t.Errorf("%d findings, the newest %s", len(c.Findings), newest)
	}
	if len(c.Standing) != maxStanding || c.Bad != 100_000 || c.Repaired != 50_000 {
		t.Errorf("%d blocks stay bad, of %d, %d repaired", len(c.Standing), c.Bad, c.Repaired)
	}
	for _, f := range c.Findings {
		if len(f) > 300 {
			t.Errorf("a finding of %d bytes", len(f))
		}
	}
}
