package server

import (
	"reflect"
	"testing"

	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

func (w *world) resize(name string, size uint64) (*v1.Volume, error) {
	r, err := w.Admin.ResizeVolume(ctx, &v1.ResizeVolumeRequest{Name: name, SizeBytes: size})
	return r.GetVolume(), err
}

func TestResizedVolumeHasItsNewSegmentsAndKeepsTheOldOnes(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.create("v", 2<<30+4096)
	whole := w.create("whole", 7<<30)
	show := func(name string) *v1.GetVolumeResponse {
		r, err := w.Admin.GetVolume(ctx, &v1.GetVolumeRequest{Name: name})
		w.ok(err)
		return r
	}
	before := show("v").Segments
	s := w.open("v", false)
	for _, c := range []struct{ size, want, segments uint64 }{
		{2<<30 + 4097, 2<<30 + 8192, 3}, // rounded up, within a segment
		{3 << 30, 3 << 30, 3},
		{7 << 30, 7 << 30, 7},
		{7 << 30, 7 << 30, 7}, // again
	} {
		v, err := w.resize("v", c.size)
		if err != nil || v.SizeBytes != c.want {
			t.Fatalf("%+v: %v, %v", c, v, err)
		}
		w.restart()
		got := show("v")
		if got.Volume.SizeBytes != c.want || uint64(len(got.Segments)) != c.segments ||
			!reflect.DeepEqual(got.Segments[:3], before) {
			t.Fatalf("%+v: %+v", c, got)
		}
		r, err := w.Client.RenewSession(ctx, &v1.RenewSessionRequest{SessionId: s.SessionId})
		if err != nil || !r.Valid || r.Volume.SizeBytes != c.want {
			t.Fatalf("%+v: renewed with %v, %v", c, r, err)
		}
	}
	// Grown and made at once: mapped by the same rule.
	if got, other := show("v").Segments, show("whole").Segments; len(got) != len(other) ||
		len(got[6].CopysetIds) != len(other[6].CopysetIds) || whole.SizeBytes != 7<<30 {
		t.Error(got, other)
	}
	_, err := w.resize("v", 7<<30-4096)
	has(t, err, admin.ErrInvalid, "cannot shrink", "7.0 GiB")
	_, err = w.resize("v", MaxVolumeBytes+1)
	has(t, err, admin.ErrInvalid, "size_bytes")
	_, err = w.resize("none", 1<<30)
	has(t, err, admin.ErrNotFound, "none")
	_, err = w.resize("v", 200<<30)
	has(t, err, admin.ErrNoSpace, "growth of volume v of 193 GiB", "free")
}
