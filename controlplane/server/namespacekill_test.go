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

// names is a model of the namespace: what each path leads to, and each volume of the trash, by its
// number with trashMark before it.
type names map[string]item

// item is a volume or a directory.
type item struct {
	id   uint64 // of a volume; 0: a directory
	gigs uint64
	was  string // in the trash: its name
}

const trashMark = "trash "

// nsOp is one mutation: what is done to a path, and another path for renames.
type nsOp struct {
	verb, path, to string
	gigs           uint64
}

// parentOf says whether the directory of a path is there.
func (n names) parentOf(path string) bool {
	parent, _ := splitPath(path)
	it, ok := n[parent]
	return parent == "" || ok && it.id == 0
}

func (n names) is(path string, dir bool) bool {
	it, ok := n[path]
	return ok && (it.id == 0) == dir
}

// fresh is the class of the error with which a new path is refused, or nil.
func (n names) fresh(path string) error {
	if _, ok := n[path]; !n.parentOf(path) {
		return admin.ErrNotFound
	} else if ok {
		return admin.ErrExists
	}
	return nil
}

// below is the paths in a directory, at any depth.
func (n names) below(dir string) (paths []string) {
	for path := range n {
		if strings.HasPrefix(path, dir+"/") {
			paths = append(paths, path)
		}
	}
	return paths
}

// apply is what a mutation does to the namespace, or the class of the error that refuses it. A
// volume that is made gets the number given.
func (n names) apply(op nsOp, id uint64) (names, error) {
	next := maps.Clone(n)
	switch op.verb {
	case "mkdir":
		next[op.path] = item{}
		return next, n.fresh(op.path)
	case "create":
		next[op.path] = item{id: id, gigs: op.gigs}
		return next, n.fresh(op.path)
	case "rmdir":
		if !n.is(op.path, true) {
			return nil, admin.ErrNotFound
		}
		if len(n.below(op.path)) > 0 {
			return nil, admin.ErrBusy
		}
		delete(next, op.path)
		return next, nil
	case "mvdir", "move":
		return n.rename(next, op)
	case "restore":
		it, ok := n[op.path]
		if !ok {
			return nil, admin.ErrNotFound
		}
		delete(next, op.path)
		next[op.to] = item{id: it.id, gigs: it.gigs}
		return next, n.fresh(op.to)
	}
	return n.change(next, op)
}

// change is what becomes of one volume.
func (n names) change(next names, op nsOp) (names, error) {
	if !n.is(op.path, false) {
		return nil, admin.ErrNotFound
	}
	it := n[op.path]
	switch op.verb {
	case "resize":
		if op.gigs < it.gigs {
			return nil, admin.ErrInvalid
		}
		it.gigs = op.gigs
		next[op.path] = it
		return next, nil
	case "trash":
		it.was = op.path
		next[fmt.Sprint(trashMark, it.id)] = it
	}
	delete(next, op.path)
	return next, nil
}

func (n names) rename(next names, op nsOp) (names, error) {
	if !n.is(op.path, op.verb == "mvdir") {
		return nil, admin.ErrNotFound
	}
	if err := n.fresh(op.to); err != nil {
		return nil, err
	}
	if strings.HasPrefix(op.to, op.path+"/") {
		return nil, admin.ErrInvalid
	}
	for _, path := range append(n.below(op.path), op.path) {
		moved := op.to + strings.TrimPrefix(path, op.path)
		if strings.Count(moved, "/") >= maxPathNames {
			return nil, admin.ErrInvalid
		}
		delete(next, path)
		next[moved] = n[path]
	}
	return next, nil
}

// list is the model as lines, in order.
func (n names) list() (all []string) {
	for path, it := range n {
		all = append(all, fmt.Sprintln(path, it))
	}
	slices.Sort(all)
	return all
}

// namesOf is what a control plane has. What it is deleting is gone.
func namesOf(c *admin.Clients) (names, error) {
	n := names{}
	dirs, err := admin.Directories(ctx, c.Admin, &v1.ListDirectoriesRequest{Recursive: true})
	if err != nil {
		return nil, err
	}
	for _, d := range dirs {
		n[d.Path] = item{}
	}
	volumes, err := admin.Volumes(ctx, c.Admin, &v1.ListVolumesRequest{Recursive: true})
	if err != nil {
		return nil, err
	}
	for _, v := range volumes {
		got, err := c.Admin.GetVolume(ctx, &v1.GetVolumeRequest{Name: v.Name})
		if err != nil {
			return nil, err
		}
		// A size without its segments would be half of a change.
		n[v.Name] = item{id: v.VolumeId, gigs: uint64(len(got.Segments))}
		if v.SizeBytes != uint64(len(got.Segments))<<30 {
			return nil, fmt.Errorf("volume %s has %d bytes in %d segments", v.Name, v.SizeBytes,
				len(got.Segments))
		}
	}
	trash, err := admin.Trash(ctx, c.Admin)
	for _, t := range trash {
		if v := t.Volume; v.State == "trashed" {
			n[fmt.Sprint(trashMark, v.VolumeId)] = item{id: v.VolumeId, gigs: v.SizeBytes >> 30,
				was: v.Name}
		}
	}
	return n, err
}

// carryOut asks a control plane for the mutation; id is that of a volume made.
func carryOut(c *admin.Clients, op nsOp, trashed uint64) (id uint64, err error) {
	switch op.verb {
	case "mkdir":
		_, err = c.Admin.CreateDirectory(ctx, &v1.CreateDirectoryRequest{Path: op.path})
	case "rmdir":
		_, err = c.Admin.RemoveDirectory(ctx, &v1.RemoveDirectoryRequest{Path: op.path})
	case "create":
		var r *v1.CreateVolumeResponse
		r, err = c.Admin.CreateVolume(ctx, &v1.CreateVolumeRequest{Name: op.path,
			SizeBytes: op.gigs << 30})
		id = r.GetVolume().GetVolumeId()
	case "delete", "trash":
		_, err = c.Admin.DeleteVolume(ctx, &v1.DeleteVolumeRequest{Name: op.path,
			Now: op.verb == "delete"})
	case "resize":
		_, err = c.Admin.ResizeVolume(ctx, &v1.ResizeVolumeRequest{Name: op.path,
			SizeBytes: op.gigs << 30})
	case "restore":
		_, err = c.Admin.RestoreVolume(ctx, &v1.RestoreVolumeRequest{VolumeId: trashed,
			NewName: op.to})
	case "mvdir":
		_, err = c.Admin.RenameDirectory(ctx, &v1.RenameDirectoryRequest{Path: op.path,
			NewPath: op.to})
	case "move":
		_, err = c.Admin.RenameVolume(ctx, &v1.RenameVolumeRequest{Name: op.path, NewName: op.to})
	}
	return id, err
}

// draw makes up a mutation over few names, so that they meet.
func draw(rng *rand.Rand) nsOp {
	path := func() string {
		parts := make([]string, 1+rng.IntN(4))
		for i := range parts {
			parts[i] = string(rune('a' + rng.IntN(3)))
		}
		return strings.Join(parts, "/")
	}
	verbs := []string{"mkdir", "mkdir", "rmdir", "create", "create", "delete", "mvdir", "move",
		"trash", "restore", "resize"}
	return nsOp{verbs[rng.IntN(len(verbs))], path(), path(), uint64(1 + rng.IntN(4))}
}

func TestAcknowledgedNamesSurviveKillsAndNoneIsHalfChanged(t *testing.T) {
	mutations := 1000
	if testing.Short() {
		mutations = 200
	}
	t.Run("pebble", func(t *testing.T) { renameAndKill(t, mutations, lone(t)) })
	t.Run("etcd", func(t *testing.T) { renameAndKill(t, mutations/2, pair(t)) })
}

// renameAndKill kills a control plane among changes of names.
func renameAndKill(t *testing.T, mutations int, c *child) {
	w := &nsWorld{killWorld: newKillWorld(t, c), names: names{}, done: map[string]int{}}
	w.start()
	defer func() { w.killAll() }()
	w.join(3)
	for _, n := range w.nodes {
		n.stores[0].CapacityBytes = 1 << 50
	}
	w.rejoin()
	for i := range mutations {
		if w.rng.IntN(60) == 0 {
			w.killDuringNames()
			w.rejoin()
		}
		op := w.draw()
		id, err := carryOut(w.Clients, op, w.names[op.path].id)
		next, class := w.names.apply(op, id)
		switch {
		case errors.Is(err, class) && (err == nil) == (class == nil):
			if class == nil {
				w.names = next
				w.done[op.verb]++
			}
		case w.lapsed(err):
			w.findOut(op, id, err)
		default:
			t.Fatalf("mutation %d, %+v: %v, want %v", i, op, err, class)
		}
		if i%25 == 0 {
			w.checkNames()
			w.killWorld.beat()
		}
	}
	w.killDuringNames()
	w.checkEvents()
	t.Logf("took effect: %v; names at the end: %d; after a kill %d mutations had happened, %d not",
		w.done, len(w.names), w.after, w.before)
}

// nsWorld drives the namespace of a child.
type nsWorld struct {
	*killWorld
	names         names
	done          map[string]int
	before, after int
}

// draw makes up a mutation that mostly has an effect.
func (w *nsWorld) draw() nsOp {
	op := nsOp{}
	for range 1 + w.rng.IntN(60) {
		op = draw(w.rng)
		if op.verb == "restore" {
			op.path = w.inTrash()
		}
		if _, class := w.names.apply(op, 1); class == nil {
			break
		}
	}
	return op
}

// inTrash is the key of a volume in the trash, or that of none.
func (w *nsWorld) inTrash() string {
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(w.names)) {
		if strings.HasPrefix(key, trashMark) {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return trashMark + "0"
	}
	return keys[w.rng.IntN(len(keys))]
}

func (w *nsWorld) checkNames() {
	w.t.Helper()
	got, err := namesOf(w.Clients)
	if err != nil {
		w.t.Fatal(err)
	}
	if !maps.Equal(got, w.names) {
		w.t.Fatalf("the names are\n%v, want\n%v", got.list(), w.names.list())
	}
}

// checkEvents wants of each volume the event that it was made, which is of the same transaction.
func (w *nsWorld) checkEvents() {
	w.t.Helper()
	created := map[uint64]int{}
	q := &v1.ListEventsRequest{}
	for more := true; more; {
		r, err := w.Admin.ListEvents(ctx, q)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, e := range r.Events {
			if q.AfterId = e.EventId; e.Kind == "volume-created" {
				created[e.ObjectId]++
			}
		}
		more = r.More
	}
	for path, it := range w.names {
		if it.id != 0 && created[it.id] != 1 {
			w.t.Errorf("%d events tell that %s (%d) was made", created[it.id], path, it.id)
		}
	}
}

// killDuringNames kills the process while a mutation is on its way. What is there afterwards must
// be all as before it or all as after it, and the latter when it was acknowledged.
func (w *nsWorld) killDuringNames() {
	w.t.Helper()
	op := w.draw()
	type answer struct {
		id  uint64
		err error
	}
	answers := make(chan answer, 1)
	clients, trashed := w.Clients, w.names[op.path].id
	go func() {
		id, err := carryOut(clients, op, trashed)
		answers <- answer{id, err}
	}()
	time.Sleep(time.Duration(w.rng.IntN(700)) * time.Microsecond)
	w.kill()
	got := <-answers
	w.start()
	w.findOut(op, got.id, got.err)
}

// findOut takes over what became of a mutation whose caller was told id or err.
func (w *nsWorld) findOut(op nsOp, id uint64, told error) {
	w.t.Helper()
	next, class := w.names.apply(op, id)
	if class != nil {
		w.checkNames()
		return
	}
	if told != nil && !errors.Is(told, admin.ErrUnavailable) && !errors.Is(told, admin.ErrClosed) {
		w.t.Fatal(told)
	}
	if op.verb == "create" && told != nil {
		r, err := w.Admin.GetVolume(ctx, &v1.GetVolumeRequest{Name: op.path})
		if err == nil {
			next[op.path] = item{id: r.Volume.VolumeId, gigs: op.gigs}
		}
	}
	now, err := namesOf(w.Clients)
	if err != nil {
		w.t.Fatal(err)
	}
	switch {
	case maps.Equal(now, next):
		w.names = next
		w.after++
	case told == nil:
		w.t.Fatalf("%+v was acknowledged; the names are\n%v, want\n%v", op, now.list(),
			next.list())
	default:
		w.before++
		w.checkNames()
	}
}
