package server

import (
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// metadata is everything in the metadata, read past the interface.
func (r *rig) metadata() map[string]string {
	r.t.Helper()
	all := map[string]string{}
	err := r.srv.kv.View(ctx, func(rd meta.Reader) error {
		return meta.EachRecord(rd, nil, func(k, v []byte) error {
			all[string(k)] = string(v)
			return nil
		})
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

// Two volumes of 40 TiB make the metadata several pages long.
func TestMetadataAreReadFromOneSnapshotWhateverChangesMeanwhile(t *testing.T) {
	w := newWorld(t, 3, func(c *Config) { c.Overcommit = 1000 })
	for i := range 2 {
		w.create(fmt.Sprint("large", i), 40<<40)
	}
	w.srv.cluster().mu.Lock() // nothing may change before the snapshot is made
	want := w.metadata()
	w.srv.cluster().mu.Unlock()
	got := map[string]string{}
	pages := 0
	req := &v1.ReadMetadataRequest{}
	for {
		resp, err := w.Admin.ReadMetadata(ctx, req)
		w.ok(err)
		if resp.ClusterId != w.srv.ClusterID() || resp.Revision == 0 || len(resp.Records) == 0 {
			t.Fatalf("%+v", resp)
		}
		again := len(got)
		for _, r := range resp.Records {
			got[string(r.Key)] = string(r.Value)
			req.AfterKey = r.Key
		}
		if len(got) != again+len(resp.Records) {
			t.Fatal("a record came twice")
		}
		pages++
		if pages == 1 {
			same, err := w.Admin.ReadMetadata(ctx, &v1.ReadMetadataRequest{Token: resp.Token})
			w.ok(err)
			if !reflect.DeepEqual(same.Records, resp.Records) {
				t.Error("the first page, asked for again, is another")
			}
		}
		w.create(fmt.Sprint("later", pages), 1<<20)
		if req.Token = resp.Token; !resp.More {
			break
		}
	}
	if pages < 3 || !reflect.DeepEqual(got, want) {
		t.Errorf("%d pages with %d records, want %d", pages, len(got), len(want))
	}
	if _, err := w.Admin.ReadMetadata(ctx, req); !errors.Is(err, admin.ErrNotFound) {
		t.Errorf("after the end: %v", err)
	}
}

func TestSnapshotsAreFewAndEndWithTheProcess(t *testing.T) {
	w := newWorld(t, 3, func(c *Config) { c.Overcommit = 1000 })
	w.create("large", 64<<40)
	for range maxReadings {
		resp, err := w.Admin.ReadMetadata(ctx, &v1.ReadMetadataRequest{})
		w.ok(err)
		if !resp.More {
			t.Fatal("one page has everything: the test tests nothing")
		}
	}
	_, err := w.Admin.ReadMetadata(ctx, &v1.ReadMetadataRequest{})
	if !errors.Is(err, admin.ErrBusy) {
		t.Errorf("one more: %v", err)
	}
	w.restart() // waits for all that read
	_, err = w.Admin.ReadMetadata(ctx, &v1.ReadMetadataRequest{Token: "of another time"})
	if !errors.Is(err, admin.ErrNotFound) {
		t.Errorf("a token of before: %v", err)
	}
}
