package server

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

func (w *world) remove(name string, now bool) (*v1.Volume, error) {
	r, err := w.Admin.DeleteVolume(ctx, &v1.DeleteVolumeRequest{Name: name, Now: now})
	return r.GetVolume(), err
}

func (w *world) restore(id uint64, as string) (*v1.Volume, error) {
	r, err := w.Admin.RestoreVolume(ctx, &v1.RestoreVolumeRequest{VolumeId: id, NewName: as})
	return r.GetVolume(), err
}

func (w *world) trash() []*v1.Trashed {
	w.t.Helper()
	all, err := admin.Trash(ctx, w.Admin)
	w.ok(err)
	return all
}

func TestTrashedVolumeKeepsItsDataAndSpaceAndIsRestored(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.ok(w.mkdir("d"))
	w.create("d/v", 40<<30)
	before, err := w.Admin.GetVolume(ctx, &v1.GetVolumeRequest{Name: "d/v"})
	w.ok(err)
	s := w.open("d/v", false)
	_, err = w.remove("d/v", false)
	has(t, err, admin.ErrBusy, "detach it first")
	_, err = w.Client.CloseSession(ctx, &v1.CloseSessionRequest{SessionId: s.SessionId})
	w.ok(err)
	gone, err := w.remove("d/v", false)
	if err != nil || gone.State != "trashed" ||
		gone.PurgeUnixNs != w.clock.now().Add(24*time.Hour).UnixNano() {
		t.Fatal(gone, err)
	}
	_, err = w.Client.OpenVolume(ctx, &v1.OpenVolumeRequest{Name: "d/v"})
	has(t, err, admin.ErrNotFound)
	_, err = w.Client.LookupSegments(ctx, &v1.LookupSegmentsRequest{VolumeId: gone.VolumeId,
		Count: 1})
	has(t, err, admin.ErrNotFound)
	w.create("d/v", 1<<30) // the name is free, the space is not
	_, err = w.Admin.CreateVolume(ctx, &v1.CreateVolumeRequest{Name: "w", SizeBytes: 60 << 30})
	has(t, err, admin.ErrNoSpace, "1 volumes in the trash keep 120 GiB")
	if st := w.status(); st.TrashedVolumes != 1 || st.TrashedBytes != 120<<30 || st.Volumes != 1 {
		t.Errorf("%+v", st)
	}
	_, err = w.restore(gone.VolumeId, "")
	has(t, err, admin.ErrExists, "d/v")
	_, err = w.restore(gone.VolumeId, "nowhere/v")
	has(t, err, admin.ErrNotFound, "nowhere")
	w.restart()
	if got := w.trash(); len(got) != 1 || got[0].Volume.Name != "d/v" ||
		got[0].ReservedBytes != 120<<30 {
		t.Fatalf("%v", got)
	}
	back, err := w.restore(gone.VolumeId, "d/w")
	if err != nil || back.State != "ok" || back.PurgeUnixNs != 0 || back.TrashedUnixNs != 0 {
		t.Fatal(back, err)
	}
	_, err = w.restore(gone.VolumeId, "")
	has(t, err, admin.ErrNotFound, "no volume")
	w.restart()
	after, err := w.Admin.GetVolume(ctx, &v1.GetVolumeRequest{Name: "d/w"})
	w.ok(err)
	if !reflect.DeepEqual(after.Segments, before.Segments) || len(w.trash()) != 0 {
		t.Error("restored with another mapping, or still in the trash")
	}
	if again := w.open("d/w", false); again.Epoch != s.Epoch+1 {
		t.Errorf("epoch %d after %d", again.Epoch, s.Epoch)
	}
}

func TestTrashIsEmptiedWhenItsTimeHasCome(t *testing.T) {
	w := newWorld(t, 3, func(c *Config) { c.TrashKeep = time.Hour })
	for i := range maxPurges + 4 {
		name := fmt.Sprint("v", i)
		w.create(name, 1<<20)
		_, err := w.remove(name, false)
		w.ok(err)
	}
	w.tick(59 * time.Minute)
	w.cfg.TrashKeep = time.Minute // of concern to later ones only
	w.restart()
	w.beat()
	w.tick(time.Second)
	states := func() (n map[string]int) {
		n = map[string]int{}
		for _, s := range w.volumeNames() {
			_, state, _ := strings.Cut(s, ":")
			n[state]++
		}
		return n
	}
	if got := states(); got["trashed"] != maxPurges+4 {
		t.Fatalf("before their time: %v", got)
	}
	w.clock.pass(time.Minute)
	for _, n := range w.nodes {
		n.dropped = false
		w.ok(n.register())
	}
	w.beat()
	w.tick(0)
	if got := states(); got["deleting"] != maxPurges || got["trashed"] != 4 {
		t.Fatalf("one tick: %v", got)
	}
	for _, n := range w.nodes {
		n.dropped = true
	}
	for range 3 {
		w.tick(time.Millisecond)
		w.beat() // told to delete
		w.beat() // done
	}
	w.tick(time.Millisecond)
	if got := w.volumeNames(); len(got) != 0 {
		t.Fatalf("%v", got)
	}
}

func TestPurgeAndASettingWithoutTrashDeleteAtOnce(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.create("v", 1<<20)
	v, err := w.remove("v", false)
	w.ok(err)
	r, err := w.Admin.PurgeVolume(ctx, &v1.PurgeVolumeRequest{VolumeId: v.VolumeId})
	if err != nil || r.Volume.State != "deleting" {
		t.Fatal(r, err)
	}
	_, err = w.restore(v.VolumeId, "")
	has(t, err, admin.ErrNotFound)
	if got := w.trash(); len(got) != 1 || got[0].Volume.State != "deleting" {
		t.Errorf("%v", got)
	}
	_, err = w.Admin.PurgeVolume(ctx, &v1.PurgeVolumeRequest{VolumeId: 99})
	has(t, err, admin.ErrNotFound, "99")
	w.cfg.TrashKeep = -1
	w.restart()
	w.create("v", 1<<20)
	if v, err := w.remove("v", false); err != nil || v.State != "deleting" {
		t.Error(v, err)
	}
}

func TestTrashHasPages(t *testing.T) {
	w := newWorld(t, 3, nil)
	var want, got []uint64
	for range 11 {
		w.create("v", 1)
		v, err := w.remove("v", false)
		w.ok(err)
		want = append(want, v.VolumeId)
	}
	q := &v1.ListTrashRequest{PageSize: 3}
	for {
		r, err := w.Admin.ListTrash(ctx, q)
		w.ok(err)
		for _, t := range r.Volumes {
			got = append(got, t.Volume.VolumeId)
		}
		if q.PageToken = r.NextPageToken; q.PageToken == "" {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	_, err := w.Admin.ListTrash(ctx, &v1.ListTrashRequest{PageToken: "cDE6eA"})
	has(t, err, admin.ErrInvalid, "page_token")
}
