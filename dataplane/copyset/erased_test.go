package copyset

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// Against a set of numbers.
func TestRunsAreWhatWasPutIntoThem(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		var rs runs
		in := map[uint64]bool{}
		for range 30 {
			v := Volumes{First: 1 + rng.Uint64N(100)}
			v.Last = v.First + rng.Uint64N(5)
			before := slices.Clone(rs)
			next := rs.with(v)
			if !slices.Equal(rs, before) {
				t.Fatal("a state that shares the runs has others now")
			}
			rs = next
			for id := v.First; id <= v.Last; id++ {
				in[id] = true
			}
		}
		for id := range uint64(110) {
			if rs.has(id) != in[id] {
				t.Fatalf("%v: %d: want %v", rs, id, in[id])
			}
		}
		for i := range len(rs) - 1 {
			if rs[i].Last+1 >= rs[i+1].First {
				t.Fatalf("%v are not apart", rs)
			}
		}
		if got := new(State); got.Decode((&State{Erased: rs,
			Sessions: newTable().appendTo(nil)}).AppendTo(nil)) != nil ||
			!slices.Equal(got.Erased, []Volumes(rs)) {
			t.Fatalf("%v are read as %v", rs, got.Erased)
		}
	}
	end := runs{{1, 1}}.with(Volumes{math.MaxUint64 - 1, math.MaxUint64})
	if len(end.with(Volumes{2, 3})) != 2 || len(end.with(Volumes{5, math.MaxUint64 - 2})) != 2 {
		t.Errorf("%v", end)
	}
}

// However the volumes go, a table with runs judges every command as one with all marks.
func TestRunsJudgeLikeTheMarksInTheirPlace(t *testing.T) {
	const volumes = 300
	rng := rand.New(rand.NewPCG(1, 2))
	plain, folded := newTable(), newTable()
	gone := make([]bool, volumes+2)
	for step := range 20_000 {
		c := Command{Session: rng.Uint64N(3) + 1, OpID: rng.Uint64N(50), LowWater: rng.Uint64N(9),
			Epoch: rng.Uint64N(4), Volume: 1 + rng.Uint64N(volumes)}
		switch rng.IntN(60) {
		case 0:
			plain.dropVolume(c.Volume)
			folded.dropVolume(c.Volume)
			gone[c.Volume] = true
		case 1:
			if v := aroundIn(gone, c.Volume); gone[c.Volume] && !folded.erase(v) {
				t.Fatal("no room for ", v)
			}
		case 2:
			c.Epoch = math.MaxUint64
		}
		want, got := plain.judge(&c), folded.judge(&c)
		if gone[c.Volume] && c.Epoch == math.MaxUint64 {
			want = got // no client has that epoch
		}
		if got != want {
			t.Fatalf("%+v: verdict %d, with all marks %d", c, got, want)
		}
		if got == fresh {
			plain.record(&c)
			folded.record(&c)
		}
		if plain.epoch(c.Volume) != folded.epoch(c.Volume) || !folded.hasRoom(c.Volume) {
			t.Fatalf("volume %d: epoch %d, with all marks %d", c.Volume, folded.epoch(c.Volume),
				plain.epoch(c.Volume))
		}
		if step%500 == 0 {
			folded = throughAState(t, folded)
		}
	}
	if len(folded.erased) == 0 || folded.size >= plain.size {
		t.Errorf("%d runs, %d bytes, with all marks %d", len(folded.erased), folded.size,
			plain.size)
	}
}

// aroundIn is the run of volumes that are gone around one.
func aroundIn(gone []bool, volume uint64) Volumes {
	v := Volumes{volume, volume}
	for gone[v.First-1] {
		v.First--
	}
	for gone[v.Last+1] {
		v.Last++
	}
	return v
}

func throughAState(t *testing.T, table *sessions) *sessions {
	t.Helper()
	st := State{Erased: table.erased, Sessions: table.appendTo(nil)}
	b := st.AppendTo(nil)
	none := len((&State{Sessions: newTable().appendTo(nil)}).AppendTo(nil)) - tableHead
	var got State
	again := newSessions()
	if err := got.Decode(b); err != nil {
		t.Fatal(err)
	}
	if err := again.load(&got); err != nil {
		t.Fatal(err)
	}
	if again.size != table.size || len(b)-none != table.size {
		t.Fatalf("%d bytes, counted as %d, read as %d", len(b)-none, table.size, again.size)
	}
	return &again
}

// A copyset is not used up by the volumes that it had.
func TestVolumesThatComeAndGoForEverFindRoom(t *testing.T) {
	table := newTable()
	for v := uint64(1); v <= 200_000; v++ {
		c := Command{Session: v, Epoch: 1, OpID: 1, Volume: v}
		if got := table.judge(&c); got != fresh {
			t.Fatalf("volume %d: verdict %d", v, got)
		}
		table.record(&c)
		table.dropVolume(v)
		if len(table.volumes) >= foldVolumes {
			if first := v - foldVolumes/2; !table.worthARun(Volumes{1, first}) ||
				!table.erase(Volumes{1, first}) {
				t.Fatalf("volume %d: no room for a run", v)
			}
		}
	}
	if table.size > 2*foldVolumes*volumeBytes || len(table.erased) != 1 {
		t.Errorf("%d bytes with the runs %v", table.size, table.erased)
	}
}

func TestARunThatMakesAFullTableLargerIsRefused(t *testing.T) {
	table := newTable()
	for v := uint64(1); table.hasRoom(v); v++ {
		table.fence(v, 1)
	}
	free := maxTableBytes - table.size
	for v := uint64(1 << 30); table.erase(Volumes{v, v}); v += 2 {
		if table.size > maxTableBytes || free < runsHead+runBytes {
			t.Fatalf("%d bytes, %d were free", table.size, free)
		}
	}
	if table.fence(1, math.MaxUint64); table.worthARun(Volumes{1, 1}) {
		t.Error("a run for one mark is larger than the mark")
	}
	if table.fence(2, math.MaxUint64); !table.worthARun(Volumes{1, 2}) ||
		!table.erase(Volumes{1, 2}) {
		t.Error("a run for two marks found no room")
	}
}

func TestLeadersWithALargeTableTakeRunsAndRefuseWhatIsInThem(t *testing.T) {
	h := newSolo(t, 1)
	write := func(volume uint64) wire.Status {
		q := h.request(KindWrite, 0, BlockSize, 1)
		q.Chunk.Volume, q.Epoch = volume, 1
		h.submit(q)
		h.settle()
		return h.replies[len(h.replies)-1].Status
	}
	entries := h.r.entries.last
	told := []Volumes{{0, 3}, {9, 7}, {2, 3}, {500, 500}, {20, foldVolumes - 2}}
	for v := uint64(2); v < foldVolumes; v++ {
		h.r.DeleteVolume(v)
		h.settle()
	}
	before := entries()
	h.r.Erased(told)
	if h.settle(); entries() != before || h.r.Status().ManyVolumes {
		t.Fatal("a table that is small takes runs")
	}
	for v := range uint64(2) {
		if s := write(foldVolumes + v); s != wire.StatusOK {
			t.Fatal(s)
		}
	}
	if !h.r.Status().ManyVolumes {
		t.Error("nobody is asked for runs")
	}
	before = entries()
	h.r.Erased(told)
	if h.settle(); entries() != before+2 || h.r.Status().ManyVolumes {
		t.Errorf("%d entries for two runs that are worth one", entries()-before)
	}
	if want := (runs{{2, 3}, {20, foldVolumes - 2}}); !slices.Equal(h.r.sessions.erased, want) {
		t.Errorf("%v, want %v", h.r.sessions.erased, want)
	}
	for volume, want := range map[uint64]wire.Status{3: wire.StatusStaleEpoch,
		4: wire.StatusStaleEpoch, 600: wire.StatusStaleEpoch, foldVolumes: wire.StatusOK,
		foldVolumes + 7: wire.StatusOK} {
		if got := write(volume); got != want {
			t.Errorf("a write to volume %d: %v, want %v", volume, got, want)
		}
	}
	if h.r.Epoch(600) != math.MaxUint64 || h.r.Epoch(foldVolumes) != 1 || h.r.Epoch(5000) != 0 {
		t.Error("epochs", h.r.Epoch(600), h.r.Epoch(foldVolumes), h.r.Epoch(5000))
	}
}
