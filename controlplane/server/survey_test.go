package server

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// tellChunks does what a node does that is asked for chunks, in pages of two volumes. A fence that
// is proposed is applied only after the list was made, as in a node.
func (r *reality) tellChunks(n *fakeNode, resp *v1.HeartbeatNodeResponse) {
	r.t.Helper()
	for _, id := range resp.SurveyCopysets {
		g := r.groups[id]
		if m := g.at[g.leader]; m == nil || m.StoreId != n.stores[0].StoreId {
			r.t.Errorf("copyset %d is asked for where it is not led", id)
			continue
		}
		req := &v1.ReportChunksRequest{ClusterId: n.cluster, NodeId: n.id, Survey: resp.Survey,
			CopysetId: id, First: true, Erased: g.erased}
		send := func(last bool) {
			req.Last = last
			_, err := r.Node.ReportChunks(ctx, req)
			r.ok(err)
			req.Volumes, req.Erased, req.First = nil, nil, false
		}
		for _, volume := range sortedIDs(g.holds) {
			v := *g.holds[volume]
			half := len(v.Chunks) / 2
			req.Volumes = append(req.Volumes, &v1.CopysetVolume{VolumeId: volume, Epoch: v.Epoch,
				Chunks: v.Chunks[:half]})
			send(false)
			req.Volumes = append(req.Volumes, &v1.CopysetVolume{VolumeId: volume, Epoch: v.Epoch,
				Chunks: v.Chunks[half:]})
		}
		send(true)
		for _, f := range resp.FenceVolumes {
			v := g.of(f.VolumeId)
			if r.straggler != nil && v.Epoch < f.Epoch {
				r.straggler(id, v)
			}
			v.Epoch = max(v.Epoch, f.Epoch)
		}
	}
}

func (g *group) of(volume uint64) *v1.CopysetVolume {
	if g.holds == nil {
		g.holds = told{}
	}
	if g.holds[volume] == nil {
		g.holds[volume] = &v1.CopysetVolume{VolumeId: volume}
	}
	return g.holds[volume]
}

// where is the copyset of each chunk of a volume, by the metadata.
func (r *reality) where(name string) (vol *v1.Volume, at map[uint64]uint64) {
	r.t.Helper()
	resp, err := r.Admin.GetVolume(ctx, &v1.GetVolumeRequest{Name: name})
	r.ok(err)
	at = map[uint64]uint64{}
	per := resp.Volume.SegmentBytes / resp.Volume.ChunkBytes
	chunks := (resp.Volume.SizeBytes + resp.Volume.ChunkBytes - 1) / resp.Volume.ChunkBytes
	for chunk := range chunks {
		ids := resp.Segments[chunk/per].CopysetIds
		at[chunk] = ids[chunk%per%uint64(len(ids))]
	}
	return resp.Volume, at
}

// fill writes chunks of a volume from one on, about one in some, the last one always. It returns
// where they are.
func (r *reality) fill(name string, epoch, from uint64, some int) map[uint64]uint64 {
	r.t.Helper()
	vol, at := r.where(name)
	written := map[uint64]uint64{}
	for chunk, copyset := range at {
		v := r.groups[copyset].of(vol.VolumeId)
		v.Epoch = max(v.Epoch, epoch)
		if chunk >= from && (rand.IntN(some) == 0 || chunk == uint64(len(at)-1)) {
			v.Chunks = append(v.Chunks, chunk)
			written[chunk] = copyset
		}
	}
	return written
}

// survey has the nodes tell what they hold.
func (r *reality) rebuild(req *v1.RebuildVolumesRequest) *v1.RebuildVolumesResponse {
	r.t.Helper()
	resp, err := r.Admin.RebuildVolumes(ctx, req)
	r.ok(err)
	for range 20 {
		r.pass(1)
		resp, err = r.Admin.RebuildVolumes(ctx, &v1.RebuildVolumesRequest{Survey: resp.Survey})
		r.ok(err)
		if resp.State == surveyDone || resp.State == surveyFailed {
			return resp
		}
	}
	r.t.Fatalf("%+v", resp)
	return nil
}

func verdicts(resp *v1.RebuildVolumesResponse) string {
	var list []string
	for _, v := range resp.Volumes {
		list = append(list, fmt.Sprintf("%s %s", v.Name, v.Verdict))
	}
	return strings.Join(list, ", ")
}

// wantThere checks that every chunk that was written is where the metadata have it now.
func (r *reality) wantThere(name string, written map[uint64]uint64) {
	r.t.Helper()
	vol, at := r.where(name)
	if len(written) == 0 {
		r.t.Fatal("nothing was written: the test tests nothing")
	}
	last := slices.Max(slices.Collect(maps.Keys(written)))
	if vol.SizeBytes != (last+1)*vol.ChunkBytes {
		r.t.Errorf("%s has %d bytes, its last chunk is %d", name, vol.SizeBytes, last)
	}
	for chunk, copyset := range written {
		if at[chunk] != copyset {
			r.t.Errorf("%s: chunk %d is in copyset %d, the metadata say %d", name, chunk, copyset,
				at[chunk])
		}
	}
	for chunk, copyset := range at {
		if r.groups[copyset] == nil {
			r.t.Errorf("%s: chunk %d is nowhere", name, chunk)
		}
	}
}

func TestVolumesThatTheBackupDoesNotKnowAreRecoveredFromTheirChunks(t *testing.T) {
	r := newReality(t, 4)
	r.create("known", 1<<30+200<<20)
	kept := r.fill("known", 1, 0, 2)
	gone := r.create("gone", 1<<30)
	r.create("same", 1<<30)
	r.fill("same", 1, 0, 2)
	path := r.save()

	late := r.create("late", 5<<30)
	written := r.fill("late", 7, 0, 3)
	used := r.create("used", 1<<30)
	open := r.open("used", false)
	r.fill("used", 1, 0, 3)
	_, err := r.Admin.ResizeVolume(ctx, &v1.ResizeVolumeRequest{Name: "known", SizeBytes: 4 << 30})
	r.ok(err)
	grown := r.fill("known", 9, 64+13, 3)
	for _, g := range r.groups {
		g.of(gone.VolumeId).Epoch = deletedEpoch
	}

	r.restore(path)
	if _, err := r.Admin.RebuildVolumes(ctx, &v1.RebuildVolumesRequest{}); !errors.Is(err,
		admin.ErrBusy) {
		t.Errorf("before the copysets are confirmed: %v", err)
	}
	r.converge()
	r.pass(1)
	renew := func() {
		_, err := r.Client.RenewSession(ctx, &v1.RenewSessionRequest{SessionId: open.SessionId,
			VolumeId: used.VolumeId, Epoch: open.Epoch})
		r.ok(err)
	}
	renew()
	id := fmt.Sprintf("recovered/volume-%d", late.VolumeId)
	other := fmt.Sprintf("recovered/volume-%d", used.VolumeId)
	listed := r.rebuild(&v1.RebuildVolumesRequest{})
	want := fmt.Sprintf("known grown, gone deleted, %s recoverable, %s in-use", id, other)
	if got := verdicts(listed); got != want || listed.Complete {
		t.Errorf("%s, complete %v, want %s", got, listed.Complete, want)
	}
	renew()
	applied := r.rebuild(&v1.RebuildVolumesRequest{Apply: true})
	want = fmt.Sprintf("known extended, gone deleted, %s recovered, %s in-use", id, other)
	if got := verdicts(applied); got != want || applied.Complete {
		t.Errorf("%s, complete %v, want %s", got, applied.Complete, want)
	}
	maps.Copy(kept, grown)
	r.wantThere("known", kept)
	r.wantThere(id, written)
	_, err = r.Admin.ResizeVolume(ctx, &v1.ResizeVolumeRequest{Name: "same", SizeBytes: 2 << 30})
	if !errors.Is(err, admin.ErrBusy) {
		t.Errorf("growing while something is missing still: %v", err)
	}

	r.clock.pass(time.Minute) // the client of the last one is gone
	r.pass(5)
	if applied = r.rebuild(&v1.RebuildVolumesRequest{Apply: true}); !applied.Complete {
		t.Errorf("%s, and yet not complete", verdicts(applied))
	}
	r.restart()
	r.pass(5)
	_, err = r.Admin.ResizeVolume(ctx, &v1.ResizeVolumeRequest{Name: "same", SizeBytes: 2 << 30})
	r.ok(err)
	o := r.open(id, false)
	if o.Epoch <= 7 || o.Volume.VolumeId != late.VolumeId {
		t.Errorf("%+v", o)
	}
}

// Copysets may know of volumes that were deleted by runs alone, and some of them not at all.
func TestVolumesInRunsOfErasedOnesAreNotRecovered(t *testing.T) {
	r := newReality(t, 4)
	ended, other := r.create("ended", 1<<30), r.create("other", 1<<30)
	r.fill("other", 1, 0, 2)
	path := r.save()
	late := r.create("late", 1<<30)
	r.fill("late", 1, 0, 3)
	first := r.groups[slices.Min(slices.Collect(maps.Keys(r.groups)))]
	first.erased = []*v1.VolumeRun{{First: late.VolumeId, Last: late.VolumeId + 70},
		{First: ended.VolumeId - 1, Last: ended.VolumeId}}
	r.restore(path)
	r.converge()
	r.pass(1)
	for _, apply := range []bool{false, true} {
		got := r.rebuild(&v1.RebuildVolumesRequest{Apply: apply})
		if v := verdicts(got); v != "ended deleted" {
			t.Errorf("%s, want that ended is deleted, and no more", v)
		}
	}
	if r.open("other", false).Volume.VolumeId != other.VolumeId {
		t.Error("another volume is lost")
	}
}

func TestClusterWithoutMetadataGetsItsVolumesBack(t *testing.T) {
	r := newReality(t, 4)
	vol := r.create("v", 3<<30)
	_, at := r.where("v")
	written := map[uint64]uint64{}
	for chunk := range at { // as a mapping could be that nobody can guess
		at[chunk] = 1 + rand.Uint64N(6)
		v := r.groups[at[chunk]].of(vol.VolumeId)
		v.Epoch = 3
		if chunk%4 == 3 {
			v.Chunks, written[chunk] = append(v.Chunks, chunk), at[chunk]
		}
	}
	r.restore("")
	r.converge()
	r.pass(1)
	for nodes, what := range map[uint64]string{0: "say how many", 5: "want 5"} {
		_, err := r.Admin.RebuildVolumes(ctx, &v1.RebuildVolumesRequest{Apply: true, Nodes: nodes})
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("with %d nodes: %v", nodes, err)
		}
	}
	late := 0
	r.straggler = func(copyset uint64, v *v1.CopysetVolume) {
		for chunk, home := range at {
			if home == copyset && written[chunk] == 0 {
				v.Chunks, written[chunk] = append(v.Chunks, chunk), copyset
				late++
				return
			}
		}
	}
	done := r.rebuild(&v1.RebuildVolumesRequest{Apply: true, Nodes: 4})
	if late == 0 {
		t.Fatal("nobody wrote at the last moment: the test tests little")
	}
	name := fmt.Sprintf("recovered/volume-%d", vol.VolumeId)
	if got := verdicts(done); got != name+" recovered" || !done.Complete {
		t.Fatalf("%s, complete %v", got, done.Complete)
	}
	r.wantThere(name, written)
	r.restart()
	r.wantThere(name, written)
}

// A chunk that two copysets claim, or one that should be elsewhere, is never guessed about.
func TestContradictionsAreToldAndNothingIsMadeOfThem(t *testing.T) {
	r := newReality(t, 4)
	path := r.save()
	vol := r.create("v", 1<<30)
	r.fill("v", 3, 0, 2)
	_, at := r.where("v")
	elsewhere := at[63]%6 + 1
	r.groups[elsewhere].of(vol.VolumeId).Chunks = append(
		r.groups[elsewhere].of(vol.VolumeId).Chunks, 63)
	r.restore(path)
	r.converge()
	r.pass(1)
	done := r.rebuild(&v1.RebuildVolumesRequest{Apply: true})
	if len(done.Volumes) != 1 || done.Volumes[0].Verdict != isUnclear || done.Complete ||
		!strings.Contains(done.Volumes[0].Detail, "chunk 63") || len(r.volumeNames()) != 0 {
		t.Errorf("%+v, %v", done, r.volumeNames())
	}
}

// Whatever is known of a volume, the mapping made of it has it, and names only what there is.
func TestRemapKeepsWhatIsKnown(t *testing.T) {
	all := make([]uint64, 40)
	for i := range all {
		all[i] = uint64(i + 1)
	}
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 0))
		sets := all[:1+rng.IntN(len(all))]
		chunks := 1 + rng.Uint64N(200)
		vol := &v1.Volume{SizeBytes: chunks << 24, SegmentBytes: 1 << 30, ChunkBytes: 1 << 24}
		turn := make([]uint64, 1+rng.IntN(20))
		for i := range turn {
			turn[i] = sets[rng.IntN(len(sets))]
		}
		at := map[uint64]uint64{}
		for chunk := range chunks {
			switch rng.IntN(4) {
			case 0:
				at[chunk] = turn[chunk%64%uint64(len(turn))]
			case 1:
				if seed%2 == 0 { // no turn at all
					at[chunk] = sets[rng.IntN(len(sets))]
				}
			}
		}
		segs := remap(vol, 0, at, sets)
		for chunk := range chunks {
			ids := segs[chunk/64].CopysetIds
			got := ids[chunk%64%uint64(len(ids))]
			if want := at[chunk]; want != 0 && got != want || !slices.Contains(sets, got) {
				t.Fatalf("seed %d: chunk %d is in copyset %d, the mapping says %d", seed, chunk,
					want, got)
			}
		}
	}
}

func TestGapsAreTheCopysetsThatNobodyHas(t *testing.T) {
	for _, c := range []struct{ order, want []uint64 }{
		{[]uint64{1, 2, 3}, nil}, {[]uint64{2, 5}, []uint64{1, 3, 4}}, {nil, nil},
		{[]uint64{1, 3, 1_900_000_000_001, 1_900_000_007_003}, []uint64{2}},
	} {
		if got := gaps(c.order); !slices.Equal(got, c.want) {
			t.Errorf("%v: %v", c.order, got)
		}
	}
}
