package server

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// attached is the sessions of a volume and their states, newest first.
func (w *world) attached(name string) (ids []uint64, states []string) {
	w.t.Helper()
	r, err := w.Admin.ListAttachments(ctx, &v1.ListAttachmentsRequest{Volume: name})
	w.ok(err)
	for _, a := range r.Attachments {
		ids, states = append(ids, a.SessionId), append(states, a.State)
	}
	return ids, states
}

func (w *world) detach(name string, id uint64) *v1.DetachVolumeResponse {
	w.t.Helper()
	r, err := w.Admin.DetachVolume(ctx, &v1.DetachVolumeRequest{Volume: name, SessionId: id})
	w.ok(err)
	return r
}

func TestAttachmentsAreListedWithTheirStates(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.create("v", 1<<30)
	w.create("other", 1<<30)
	fenced, reader := w.open("v", false).SessionId, w.open("v", true).SessionId
	w.open("other", false)
	w.tick(time.Hour) // longer than a lease
	writer := w.open("v", false).SessionId
	ids, states := w.attached("v")
	if !slices.Equal(ids, []uint64{writer, reader, fenced}) ||
		!slices.Equal(states, []string{attachedOK, attachedSilent, attachedFenced}) {
		t.Errorf("%v %v", ids, states)
	}
	_, err := w.Admin.ListAttachments(ctx, &v1.ListAttachmentsRequest{Volume: "none"})
	if !errors.Is(err, admin.ErrNotFound) {
		t.Errorf("unknown volume: %v", err)
	}
}

func TestDetachedSessionsAreVoidAndNewerOnesAreNot(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.create("v", 1<<30)
	old := w.open("v", false)
	reader := w.open("v", true)
	writer := w.open("v", false)
	for _, c := range []struct {
		id, fence uint64
		left      int
	}{
		{reader.SessionId, 0, 2},         // it could not write
		{old.SessionId, writer.Epoch, 1}, // fenced already, by one that may not have told all
		{writer.SessionId, writer.Epoch + 1, 0},
	} {
		if r := w.detach("v", c.id); r.FenceEpoch != c.fence || len(r.Detached) != 1 {
			t.Errorf("session %d: %+v", c.id, r)
		}
		if ids, _ := w.attached("v"); len(ids) != c.left || slices.Contains(ids, c.id) {
			t.Errorf("session %d: %v are left", c.id, ids)
		}
		r, err := w.Client.RenewSession(ctx, &v1.RenewSessionRequest{SessionId: c.id})
		w.ok(err)
		if r.Valid {
			t.Errorf("session %d is valid still", c.id)
		}
	}
	if next := w.open("v", false); next.Epoch != writer.Epoch+2 {
		t.Errorf("the next writer has epoch %d, as what was fenced", next.Epoch)
	}
	_, err := w.Admin.DetachVolume(ctx, &v1.DetachVolumeRequest{Volume: "v", SessionId: 77})
	if !errors.Is(err, admin.ErrNotFound) {
		t.Errorf("unknown session: %v", err)
	}
}

func TestDetachOfAllFencesWritersThatWereForgotten(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.create("v", 1<<30)
	w.open("v", false)
	w.open("v", true)
	w.tick(time.Hour)
	w.tick(forgetSession + time.Minute)
	if ids, _ := w.attached("v"); len(ids) != 0 {
		t.Fatalf("%v are still known", ids)
	}
	if r := w.detach("v", 0); r.FenceEpoch != 2 || len(r.Detached) != 0 || r.Volume.Epoch != 2 {
		t.Errorf("%+v", r)
	}
}
