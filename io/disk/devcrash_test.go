package disk

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ashlar-storage/ashlar/internal/evidence"
)

var crashLevel = flag.String("crash", "share",
	"how many crash states are tried: share (of every test run), full, or nightly")

// crashDevice is a device on a simulated disk, whose sectors a power cut may lose one by one. Its
// directory is small, so that reading it costs little.
func crashDevice(t testing.TB) (*Sim, File) {
	t.Helper()
	sim := NewSim(SimConfig{Inline: true})
	f, err := sim.Create("device", minDevice)
	if err != nil {
		t.Fatal(err)
	}
	sb, err := layOut(deviceID{7}, f.Size())
	if err != nil {
		t.Fatal(err)
	}
	sb.entries = 2 * entriesPerBlock
	if err := format(f, &sb, false); err != nil {
		t.Fatal(err)
	}
	return sim, f
}

// reopen opens the names on what is left of a device.
func reopen(sim *Sim) (*deviceNames, error) {
	f, err := sim.Open("device")
	if err != nil {
		return nil, err
	}
	return openNames(f, false, quiet)
}

// nameModel is what a directory should hold: the contents of files, and "/" for directories.
type nameModel map[string]string

// contents reads all that a directory holds.
func contents(d *deviceNames) (nameModel, error) {
	m := nameModel{}
	for name, n := range d.names {
		if n.kind == entryDir {
			m[name] = "/"
			continue
		}
		data, err := d.read(name)
		if err != nil {
			return nil, err
		}
		m[name] = string(data)
	}
	return m, nil
}

// nameOp is a change of the directory, and what it does to the model.
type nameOp struct {
	what  string
	run   func(d *deviceNames) error
	model func(m nameModel)
}

func opWrite(name, mark string, n int) nameOp {
	data := strings.Repeat(mark, n)
	return nameOp{fmt.Sprintf("write %d bytes of %s to %s", n, mark, name),
		func(d *deviceNames) error { return d.write(name, []byte(data)) },
		func(m nameModel) { m[name] = data }}
}

func opCreate(name string, blocks int) nameOp {
	return nameOp{"create " + name, func(d *deviceNames) error {
		n, err := d.create(name, int64(blocks)*BlockSize)
		if err == nil {
			d.release(n)
		}
		return err
	}, func(m nameModel) { m[name] = string(make([]byte, blocks*BlockSize)) }}
}

func opRename(from, to string) nameOp {
	return nameOp{"rename " + from + " to " + to,
		func(d *deviceNames) error { return d.rename(from, to) },
		func(m nameModel) { m[to] = m[from]; delete(m, from) }}
}

func opRemove(name string) nameOp {
	return nameOp{"remove " + name, func(d *deviceNames) error { return d.remove(name) },
		func(m nameModel) { delete(m, name) }}
}

func opMkdir(name string) nameOp {
	return nameOp{"mkdir " + name, func(d *deviceNames) error { return d.mkdirAll(name) },
		func(m nameModel) { m[name] = "/" }}
}

var nameOps = []nameOp{
	opMkdir("d"), opWrite("a", "v", 3000), opWrite("a", "w", 9000), opWrite("d/b", "x", 5000),
	opCreate("c", 2), opRename("a", "c"), opRename("c", "d/b"), opRename("d/b", "a"),
	opRemove("a"), opRemove("c"),
}

// cutter tries power cuts of a device.
type cutter struct {
	t       *testing.T
	subsets Subsets
	rng     *rand.Rand
	deep    int // boundaries of recoveries that are cut
	done    string
	seen    map[string]bool
	states  int64
	nested  int64
}

// cut compares every state that a power cut may leave now with what is allowed.
func (c *cutter) cut(sim *Sim, allowed ...nameModel) {
	for _, plan := range c.subsets.Plans(sim.Unsynced(), c.rng) {
		after := sim.Crash(plan)
		key := fmt.Sprint(after.Fingerprint(), allowed)
		if c.seen[key] {
			continue
		}
		c.seen[key] = true
		c.states++
		if c.deep > 0 {
			again := after.Crash(CrashPlan{Keep: KeepAll})
			again.OnStep(func(Step) {
				c.deep--
				for _, plan := range c.subsets.Plans(again.Unsynced(), c.rng) {
					c.nested++
					c.compare(again.Crash(plan), allowed)
				}
			})
			c.compare(again, allowed)
		}
		c.compare(after, allowed)
	}
}

// compare opens a device, which must hold one of the models, now and when it is opened again
// after one more change; and nothing any more when all its files have been removed.
func (c *cutter) compare(sim *Sim, allowed []nameModel) {
	c.t.Helper()
	d, err := reopen(sim)
	if err != nil {
		c.t.Fatalf("%s: %v", c.done, err)
	}
	got, err := contents(d)
	if err != nil {
		c.t.Fatalf("%s: %v", c.done, err)
	}
	fits := false
	for _, m := range allowed {
		fits = fits || maps.Equal(got, m)
	}
	if !fits {
		c.t.Fatalf("%s: the device holds %s, want one of %s", c.done, got, allowed)
	}
	sim.OnStep(nil)
	got["more"] = strings.Repeat("m", 5000)
	if err := d.write("more", []byte(got["more"])); err != nil {
		c.t.Fatalf("%s: a write afterwards: %v", c.done, err)
	}
	if d, err = reopen(sim.Crash(CrashPlan{Keep: KeepNothing})); err != nil {
		c.t.Fatalf("%s: opened once more: %v", c.done, err)
	}
	if again, err := contents(d); err != nil || !maps.Equal(again, got) {
		c.t.Fatalf("%s: opened once more it holds %s (%v), want %s", c.done, again, err, got)
	}
	for name, data := range got {
		if data == "/" {
			continue
		}
		if err := d.remove(name); err != nil {
			c.t.Fatalf("%s: %v", c.done, err)
		}
		delete(got, name)
	}
	after, err := openNames(d.m, true, quiet)
	if err != nil {
		c.t.Fatalf("%s: without files: %v", c.done, err)
	}
	if again, err := contents(after); err != nil || !maps.Equal(again, got) {
		c.t.Fatalf("%s: without files it holds %s (%v), want %s", c.done, again, err, got)
	}
}

// String shows names and the beginnings of contents.
func (m nameModel) String() string {
	var b strings.Builder
	for name, data := range m {
		fmt.Fprintf(&b, "%s=%.1q*%d ", name, data, len(data))
	}
	return "[" + strings.TrimSpace(b.String()) + "]"
}

// play runs a sequence of changes and cuts the power at every boundary of each.
func (c *cutter) play(ops []nameOp) {
	sim, f := crashDevice(c.t)
	d, err := openNames(f, false, quiet)
	if err != nil {
		c.t.Fatal(err)
	}
	model := nameModel{}
	c.done = ""
	for _, op := range ops {
		c.done += op.what + ", "
		after := maps.Clone(model)
		op.model(after)
		sim.OnStep(func(Step) { c.cut(sim, model, after) })
		err := op.run(d)
		switch {
		case err == nil:
			model = after
		case !errors.Is(err, ErrExists) && !errors.Is(err, ErrNotExist):
			c.t.Fatalf("%s: %v", c.done, err)
		}
		sim.OnStep(nil)
		c.cut(sim, model) // what was acknowledged, or refused, stays so
	}
}

func newCutter(t *testing.T) (c *cutter, length int) {
	t.Helper()
	c = &cutter{t: t, rng: rand.New(rand.NewPCG(5, 5)), seen: map[string]bool{}}
	switch {
	case *crashLevel == "nightly":
		c.subsets, c.deep, length = Subsets{All: 11, Each: 64, Random: 64}, 5000, 4
	case *crashLevel == "full":
		c.subsets, c.deep, length = Subsets{All: 10, Each: 32, Random: 24}, 1000, 3
	case *crashLevel != "share":
		t.Fatalf("-crash=%s: give share, full or nightly", *crashLevel)
	case testing.Short(): // as under the race detector, which looks for races
		c.subsets, c.deep, length = Subsets{All: 3, Each: 2, Random: 1}, 20, 2
	default:
		c.subsets, c.deep, length = Subsets{All: 8, Each: 8, Random: 8}, 200, 2
	}
	return c, length
}

func TestEveryPowerCutLeavesEachNameOldOrNew(t *testing.T) {
	c, length := newCutter(t)
	var sequences func(done []nameOp)
	sequences = func(done []nameOp) {
		if len(done) == length {
			c.play(done)
			return
		}
		for _, op := range nameOps {
			sequences(append(done[:len(done):len(done)], op))
		}
	}
	sequences(nil)
	c.play(append(nameOps, nameOps...))
	if c.states < 100 || c.nested == 0 {
		t.Fatalf("%d states, %d of them during recovery: the cuts do not reach it", c.states,
			c.nested)
	}
	evidence.Record(t, evidence.Item{Lane: "crash", Name: "names of a device",
		Promises: []string{"P1", "P6"}, Test: "io/disk " + t.Name(),
		Counts: map[string]int64{"states": c.states, "cuts of recovery": c.nested,
			"violations": 0}})
}

func TestEveryPowerCutOfAFormatLeavesNoDeviceOrAnEmptyOne(t *testing.T) {
	c, _ := newCutter(t)
	sim := NewSim(SimConfig{Inline: true})
	f, err := sim.Create("device", minDevice)
	if err != nil {
		t.Fatal(err)
	}
	sb, err := layOut(deviceID{7}, f.Size())
	if err != nil {
		t.Fatal(err)
	}
	sb.entries = 2 * entriesPerBlock
	none, empty, full := 0, 0, 0
	look := func(Step) {
		for _, plan := range c.subsets.Plans(sim.Unsynced(), c.rng) {
			d, err := reopen(sim.Crash(plan))
			switch {
			case errors.Is(err, ErrForeign):
				none++
			case err != nil:
				t.Fatal(err)
			case len(d.names) == 0:
				empty++
			default:
				full++
			}
		}
	}
	sim.OnStep(look)
	if err := format(f, &sb, false); err != nil {
		t.Fatal(err)
	}
	sim.OnStep(nil)
	if none == 0 || empty == 0 || full != 0 {
		t.Errorf("%d states without a device, %d empty, %d with files", none, empty, full)
	}
	d, err := openNames(f, false, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.write("a", []byte("x")); err != nil {
		t.Fatal(err)
	}
	// An older device must not come back with a part of its files.
	sb.id = deviceID{8}
	full, empty = 0, 0
	sim.OnStep(look)
	if err := format(f, &sb, true); err != nil {
		t.Fatal(err)
	}
	if full == 0 || empty == 0 {
		t.Errorf("%d states with the old files, %d empty", full, empty)
	}
}

// A device that fails a write of its directory says nothing about which state it has.
func TestAFailedChangeStopsTheNamesUntilTheyAreReadAgain(t *testing.T) {
	for _, failing := range []int{1, 2} { // the first copy, the second
		sim, f := crashDevice(t)
		d, err := openNames(f, false, quiet)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.write("a", []byte("old")); err != nil {
			t.Fatal(err)
		}
		writes := 0
		sim.FailWrites(func(string, int64) error {
			if writes++; writes == 1+failing { // the first is the content's
				return errors.New("medium error")
			}
			return nil
		})
		if err := d.write("a", []byte("new")); !errors.Is(err, ErrIO) {
			t.Fatal(err)
		}
		sim.FailWrites(nil)
		for what, err := range map[string]error{"write": d.write("b", nil), "remove": d.remove("a"),
			"rename": d.rename("a", "b"), "mkdir": d.mkdirAll("d")} {
			if !errors.Is(err, ErrIO) || !strings.Contains(err.Error(), "medium error") {
				t.Errorf("%s afterwards: %v", what, err)
			}
		}
		d, err = reopen(sim)
		if err != nil {
			t.Fatal(err)
		}
		want := "old"
		if failing == 2 {
			want = "new"
		}
		if got, err := d.read("a"); err != nil || !bytes.Equal(got, []byte(want)) {
			t.Errorf("copy %d failed: %q, %v", failing, got, err)
		}
	}
}
