package server

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

func (w *world) mkdir(path string) error {
	_, err := w.Admin.CreateDirectory(ctx, &v1.CreateDirectoryRequest{Path: path})
	return err
}

func (w *world) rmdir(path string) error {
	_, err := w.Admin.RemoveDirectory(ctx, &v1.RemoveDirectoryRequest{Path: path})
	return err
}

func (w *world) moveDir(from, to string) error {
	_, err := w.Admin.RenameDirectory(ctx, &v1.RenameDirectoryRequest{Path: from, NewPath: to})
	return err
}

func (w *world) move(from, to string) error {
	_, err := w.Admin.RenameVolume(ctx, &v1.RenameVolumeRequest{Name: from, NewName: to})
	return err
}

// tree is the paths of all directories, with a slash behind them, and of all volumes.
func tree(c *admin.Clients) ([]string, error) {
	dirs, err := admin.Directories(ctx, c.Admin, &v1.ListDirectoriesRequest{Recursive: true})
	if err != nil {
		return nil, err
	}
	volumes, err := admin.Volumes(ctx, c.Admin, &v1.ListVolumesRequest{Recursive: true})
	if err != nil {
		return nil, err
	}
	var all []string
	for _, d := range dirs {
		all = append(all, d.Path+"/")
	}
	for _, v := range volumes {
		all = append(all, fmt.Sprint(v.Name, ":", v.VolumeId))
	}
	return all, nil
}

func (w *world) tree() string {
	w.t.Helper()
	all, err := tree(w.Clients)
	w.ok(err)
	return strings.Join(all, " ")
}

func TestDirectoriesHoldVolumesAndAreRemovedWhenEmpty(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.ok(w.mkdir("a"))
	w.ok(w.mkdir("a/b"))
	w.create("a/b/v", 1<<20)
	has(t, w.mkdir("a"), admin.ErrExists, "a is a directory")
	has(t, w.mkdir("a/b/v"), admin.ErrExists, "volume a/b/v")
	has(t, w.mkdir("x/y"), admin.ErrNotFound, `"x"`, "make it first")
	has(t, w.mkdir("a/b/v/w"), admin.ErrNotFound)
	has(t, w.mkdir("a/../b"), admin.ErrInvalid, "a/../b")
	has(t, w.mkdir(""), admin.ErrInvalid)
	has(t, w.rmdir("a/b"), admin.ErrBusy, "1 volumes and 0 directories")
	has(t, w.rmdir("a/b/v"), admin.ErrNotFound)
	_, err := w.Admin.CreateVolume(ctx, &v1.CreateVolumeRequest{Name: "a/b", SizeBytes: 1})
	has(t, err, admin.ErrExists, "a/b is a directory")
	w.restart()
	if got := w.tree(); got != "a/ a/b/ a/b/v:4" {
		t.Fatal(got)
	}
	_, err = w.Admin.DeleteVolume(ctx, &v1.DeleteVolumeRequest{Name: "a/b/v", Now: true})
	w.ok(err)
	w.ok(w.rmdir("a/b"))
	w.restart()
	if got := w.tree(); got != "a/" {
		t.Fatal(got)
	}
}

func TestRenameMovesAcrossDirectoriesAndItsClientsStay(t *testing.T) {
	w := newWorld(t, 3, nil)
	for _, d := range []string{"a", "a/b", "c"} {
		w.ok(w.mkdir(d))
	}
	w.create("a/b/v", 1<<20)
	w.create("taken", 1<<20)
	s := w.open("a/b/v", false)
	has(t, w.move("a/b/v", "taken"), admin.ErrExists, "taken")
	has(t, w.move("a/b/v", "c"), admin.ErrExists, "c is a directory")
	has(t, w.move("a/b/v", "nowhere/v"), admin.ErrNotFound, "nowhere")
	has(t, w.move("a/b/none", "c/v"), admin.ErrNotFound, "a/b/none")
	has(t, w.moveDir("a", "a/b/a"), admin.ErrInvalid, "into itself")
	has(t, w.moveDir("a", "c"), admin.ErrExists)
	has(t, w.moveDir("a", strings.TrimSuffix(strings.Repeat("x/", 17), "/")), admin.ErrInvalid)
	w.ok(w.move("a/b/v", "c/w"))
	w.ok(w.moveDir("a", "c/d"))
	w.ok(w.moveDir("c", "e"))
	const dirs, volumes = "e/ e/d/ e/d/b/", " e/w:5 taken:6"
	if got := w.tree(); got != dirs+volumes {
		t.Fatal(got)
	}
	again := w.open("e/w", true)
	if again.Volume.VolumeId != s.Volume.VolumeId || again.Volume.Name != "e/w" {
		t.Fatalf("%+v", again.Volume)
	}
	r, err := w.Client.RenewSession(ctx, &v1.RenewSessionRequest{SessionId: s.SessionId})
	if err != nil || !r.Valid {
		t.Fatal(r, err)
	}
	w.create("a", 1<<20) // the name is free
	w.restart()
	if got := w.tree(); got != dirs+" a:7"+volumes {
		t.Fatal(got)
	}
}

func TestPathsBelowAMovedDirectoryStayWithinTheirBounds(t *testing.T) {
	w := newWorld(t, 3, nil)
	deep := "d"
	w.ok(w.mkdir(deep))
	for range maxPathNames - 2 {
		deep += "/d"
		w.ok(w.mkdir(deep))
	}
	w.ok(w.mkdir("x"))
	w.create(deep+"/v", 1)
	has(t, w.moveDir("d", "x/d"), admin.ErrInvalid, "17 names")
	w.ok(w.moveDir("d/d", "x/d"))
	if got := w.tree(); !strings.HasPrefix(got, "d/ x/ x/d/ ") {
		t.Error(got)
	}
}

func TestPagesHaveEveryVolumeOnceWhateverIsMadeMeanwhile(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.ok(w.mkdir("d"))
	var want []string
	for i := range 23 {
		want = append(want, fmt.Sprintf("d/v%02d", i))
		w.create(want[i], 1)
	}
	w.create("d-not", 1)
	w.create("other", 1)
	q := &v1.ListVolumesRequest{Directory: "d", PageSize: 5}
	var got []string
	for page := 0; ; page++ {
		r, err := w.Admin.ListVolumes(ctx, q)
		w.ok(err)
		if len(r.Volumes) > 5 {
			t.Fatalf("a page of %d", len(r.Volumes))
		}
		for _, v := range r.Volumes {
			got = append(got, v.Name)
		}
		if q.PageToken = r.NextPageToken; q.PageToken == "" {
			break
		}
		w.create(fmt.Sprint("d/a", page), 1) // before all that was met
		if page == 1 {                       // the very one that the token names
			w.ok(w.move("d/v09", "gone"))
		}
		w.restart()
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%v", got)
	}
	for _, c := range []struct {
		dir       string
		recursive bool
		volumes   int
	}{{"", false, 3}, {"", true, 29}, {"d", false, 26}, {"d", true, 26}} {
		all, err := admin.Volumes(ctx, w.Admin, &v1.ListVolumesRequest{Directory: c.dir,
			Recursive: c.recursive, PageSize: 7})
		if err != nil || len(all) != c.volumes {
			t.Errorf("%+v: %d, %v", c, len(all), err)
		}
	}
	_, err := w.Admin.ListVolumes(ctx, &v1.ListVolumesRequest{PageToken: "x"})
	has(t, err, admin.ErrInvalid, "page_token")
	_, err = w.Admin.ListVolumes(ctx, &v1.ListVolumesRequest{Directory: "nowhere"})
	has(t, err, admin.ErrNotFound, "nowhere")
}

// TestMetadataWithoutDirectoriesIsReadOn gives every record the version that knew no directories.
func TestMetadataWithoutDirectoriesIsReadOn(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.create("v", 1<<30)
	w.create("w", 1<<30)
	s := w.open("v", false)
	tables := "nsgvxod"
	w.ok(w.kv().Update(ctx, func(tx meta.Tx) error {
		old := map[string][]byte{}
		err := tx.Scan(nil, []byte{1}, 0, func(k, v []byte) error {
			if strings.IndexByte(tables, k[0]) >= 0 {
				old[string(k)] = append([]byte{1}, v[1:]...)
			}
			return nil
		})
		for k, v := range old {
			if err == nil {
				err = tx.Put([]byte(k), v)
			}
		}
		return err
	}))
	w.restart()
	if got := w.tree(); got != "v:2 w:3" {
		t.Fatal(got)
	}
	r, err := w.Client.RenewSession(ctx, &v1.RenewSessionRequest{SessionId: s.SessionId})
	if err != nil || !r.Valid {
		t.Fatal(r, err)
	}
	w.ok(w.mkdir("d"))
	w.ok(w.move("v", "d/v"))
	w.restart()
	if got := w.tree(); got != "d/ d/v:2 w:3" {
		t.Fatal(got)
	}
}

func BenchmarkFirstPageAfterAChangeOf65536Volumes(b *testing.B) {
	s := newNamespace()
	d := s.root
	for i := range maxVolumes {
		if i%256 == 0 {
			d = newDirectory(uint64(1<<20+i), s.root, fmt.Sprint("dir", i), 0)
			s.addDirectory(d)
		}
		s.addVolume(d, fmt.Sprint("volume", i), uint64(i+2))
	}
	for b.Loop() {
		s.changed()
		s.index()
		if got, _, err := page(s.volumePaths, "", true, 0, ""); err != nil || len(got) != maxPage {
			b.Fatal(len(got), err)
		}
	}
}

func TestTreesThatAreNoneAreCorrupt(t *testing.T) {
	dir := func(parent uint64, name string, id uint64) place {
		return place{parent: parent, name: name, entry: &meta.Entry{DirectoryID: id}}
	}
	for what, places := range map[string][]place{
		"a parent that is not there": {dir(7, "a", 8)},
		"two names":                  {dir(1, "a", 8), dir(1, "b", 8)},
		"a ring":                     {dir(8, "a", 9), dir(9, "b", 8)},
		"itself":                     {dir(8, "a", 8)},
	} {
		if _, err := build(places); err == nil {
			t.Errorf("%s: read as a tree", what)
		} else {
			has(t, err, meta.ErrCorrupt)
		}
	}
	if s, err := build([]place{dir(9, "b", 8), dir(1, "a", 9)}); err != nil ||
		s.dirs[8].path() != "a/b" {
		t.Error("a directory above one with a lower number:", err)
	}
}
