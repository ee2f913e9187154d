package disk

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func TestFilesOfADeviceSurviveReopening(t *testing.T) {
	name := newDevice(t, 64<<20)
	e := newEnv(t, func(t testing.TB, arena []byte) Disk { return openDev(t, name, arena, true) })
	onADevice(t, e, func() Disk { return openDev(t, name, nil, false) })
}

// onADevice writes, opens the device again and compares.
func onADevice(t *testing.T, e *env, reopen func() Disk) {
	t.Helper()
	e.no(e.MkdirAll("log/old"))
	f := e.create("log/a", 4*BlockSize)
	p := e.pattern(4, 9)
	e.run(f, &Op{Kind: Write, Vec: [][]byte{p}, Durable: true})
	e.no(e.WriteFile("note", []byte("small")))
	e.no(e.create("b", 8*BlockSize).Close())
	e.no(e.Rename("log/a", "b"))
	e.no(e.Close())
	e.Disk = reopen()
	e.list("", "b", "log", "note")
	e.list("log", "old")
	g, err := e.Open("b")
	e.no(err)
	got := e.block(4)
	op := &Op{Kind: Read, Vec: [][]byte{got}}
	e.run(g, op)
	e.no(op.Err)
	if !bytes.Equal(got, p) || g.Size() != 4*BlockSize {
		t.Error("other bytes after reopening")
	}
	if data, err := e.ReadFile("note"); err != nil || string(data) != "small" {
		t.Errorf("%q, %v", data, err)
	}
}

// loopDevice makes a block device of a file, where the host can.
func loopDevice(t *testing.T, size int64) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "backing")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Truncate(file, size)); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", "--find", "--show", file).CombinedOutput()
	if err != nil {
		t.Skipf("no loop devices here: %v: %s", err, out)
	}
	name := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", name).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	return name
}

func TestABlockDeviceHoldsTheFilesOfAStore(t *testing.T) {
	name := loopDevice(t, 64<<20)
	if _, err := OpenDevice(name, Config{Logger: quiet}); !errors.Is(err, ErrForeign) {
		t.Fatalf("a blank device: %v", err)
	}
	if _, _, err := FormatDevice(name, false); err != nil {
		t.Fatal(err)
	}
	e := newEnv(t, func(t testing.TB, arena []byte) Disk { return openDev(t, name, arena, false) })
	for what, open := range map[string]func() error{
		"a second store": func() error { _, err := Open(name, Config{Logger: quiet}); return err },
		"a look": func() error {
			_, err := OpenReadOnly(name, ReadOnlyConfig{Logger: quiet})
			return err
		},
		"a format": func() error { _, _, err := FormatDevice(name, true); return err },
	} {
		if err := open(); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "fuser") {
			t.Errorf("%s: %v", what, err)
		}
	}
	ro, err := OpenReadOnly(name, ReadOnlyConfig{Logger: quiet, Shared: true})
	e.no(err)
	e.no(ro.Close())
	onADevice(t, e, func() Disk { return openDev(t, name, nil, true) })
	total, free, err := e.Space()
	e.no(err)
	if total >= 64<<20 || total < 60<<20 || free >= total {
		t.Errorf("%d of %d bytes free", free, total)
	}
}

func TestOpenPicksByWhatThePathIs(t *testing.T) {
	dir, dev := t.TempDir(), newDevice(t, minDevice)
	for _, path := range []string{dir, dev} {
		d, err := Open(path, Config{Logger: quiet, NoURing: true})
		if err != nil {
			t.Fatal(err)
		}
		_, isDevice := d.(*devDisk)
		if isDevice != (path == dev) {
			t.Errorf("%s is opened as %T", path, d)
		}
		if err := errors.Join(d.WriteFile("note", []byte("x")), d.Close()); err != nil {
			t.Fatal(err)
		}
		if d, err = OpenReadOnly(path, ReadOnlyConfig{Logger: quiet}); err != nil {
			t.Fatal(err)
		}
		if data, err := d.ReadFile("note"); err != nil || string(data) != "x" {
			t.Errorf("%s: %q, %v", path, data, err)
		}
		if err := d.WriteFile("note", nil); !errors.Is(err, ErrReadOnly) {
			t.Errorf("%s: %v", path, err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for path, class := range map[string]error{"/dev/null": ErrInvalid,
		filepath.Join(dir, "none"): ErrNotExist} {
		if _, err := Open(path, Config{}); !errors.Is(err, class) {
			t.Errorf("%s: %v", path, err)
		}
		if _, err := OpenReadOnly(path, ReadOnlyConfig{}); !errors.Is(err, class) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func hashOf(t *testing.T, name string) [32]byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(data)
}

func TestALookAtADeviceChangesNothing(t *testing.T) {
	name := newDevice(t, minDevice)
	d := openDev(t, name, nil, true)
	f, err := d.Create("a", 2*BlockSize)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Close(), d.WriteFile("note", []byte("x")), d.Close()); err != nil {
		t.Fatal(err)
	}
	// What opening would mend: a copy of an entry and a superblock.
	dev, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err1 := dev.WriteAt([]byte{1}, deviceHead+100)
	_, err2 := dev.WriteAt([]byte{1}, minDevice-BlockSize+100)
	if err := errors.Join(err1, err2, dev.Close()); err != nil {
		t.Fatal(err)
	}
	before := hashOf(t, name)
	if d, err = OpenReadOnly(name, ReadOnlyConfig{Logger: quiet}); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(name, Config{Logger: quiet}); !errors.Is(err, ErrLocked) {
		t.Errorf("a store starts meanwhile: %v", err)
	}
	tryEverything(t, d)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if hashOf(t, name) != before {
		t.Error("looking changed the device")
	}
	if err := openDev(t, name, nil, true).Close(); err != nil {
		t.Fatal(err)
	}
	if hashOf(t, name) == before {
		t.Error("opening it mended nothing: the test does not reach it")
	}
}

func TestFormatErasesOnlyWhenItIsTold(t *testing.T) {
	for what, at := range map[string]int64{"file system": 1080, "array": minDevice - SectorSize} {
		name := filepath.Join(t.TempDir(), "device")
		content := make([]byte, minDevice)
		copy(content[at:], "something")
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
		before := hashOf(t, name)
		if _, _, err := FormatDevice(name, false); !errors.Is(err, ErrExists) ||
			!strings.Contains(err.Error(), "--force") {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := Open(name, Config{Logger: quiet}); !errors.Is(err, ErrForeign) ||
			!strings.Contains(err.Error(), "store format") {
			t.Errorf("%s: %v", what, err)
		}
		if hashOf(t, name) != before {
			t.Fatalf("%s was erased", what)
		}
		bytes, files, err := FormatDevice(name, true)
		if err != nil || bytes <= 0 || bytes >= minDevice || files != minEntries {
			t.Fatalf("%s: %d bytes, %d files, %v", what, bytes, files, err)
		}
		d := openDev(t, name, nil, true)
		if err := errors.Join(d.WriteFile("a", nil), d.Close()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := FormatDevice(name, false); !errors.Is(err, ErrExists) ||
			!strings.Contains(err.Error(), "a store") {
			t.Errorf("a store: %v", err)
		}
	}
	name := filepath.Join(t.TempDir(), "small")
	if err := os.WriteFile(name, make([]byte, minDevice/2), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := FormatDevice(name, false); !errors.Is(err, ErrInvalid) {
		t.Errorf("a small file: %v", err)
	}
}

func TestAFullDeviceRefusesFilesAndKeepsWhatItHas(t *testing.T) {
	e := &env{Disk: openDev(t, newDevice(t, minDevice), nil, true), t: t}
	defer func() { e.no(e.Close()) }()
	_, free, err := e.Space()
	e.no(err)
	_, err = e.Create("big", free+BlockSize)
	e.is(err, ErrNoSpace)
	e.is(e.WriteFile("big", make([]byte, free+1)), ErrNoSpace)
	f := e.create("whole", free)
	e.is(e.WriteFile("note", []byte("x")), ErrNoSpace)
	e.no(e.Remove("whole"))
	e.is(e.WriteFile("note", []byte("x")), ErrNoSpace) // whoever has it open may still read it
	e.no(f.Close())
	e.no(e.WriteFile("note", []byte("x")))
	e.list("", "note")
	for i := range minEntries - 1 {
		e.no(e.WriteFile(fmt.Sprintf("f%d", i), nil))
	}
	e.is(e.WriteFile("more", nil), ErrNoSpace)
	e.is(e.MkdirAll("more"), ErrNoSpace)
	e.no(e.WriteFile("f7", []byte("again"))) // takes the place of its former self
	e.no(e.Remove("f8"))
	e.no(e.WriteFile("more", nil))
	e.is(e.WriteFile(strings.Repeat("d/", 120)+strings.Repeat("n", 20), nil), ErrInvalid)
}

func TestOnlyOneOfConcurrentCreatesOnADeviceSucceeds(t *testing.T) {
	e := &env{Disk: openDev(t, newDevice(t, 32<<20), nil, true), t: t}
	defer func() { e.no(e.Close()) }()
	_, before, _ := e.Space()
	var made atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			f, err := e.Create("a", 1<<20)
			switch {
			case err == nil:
				made.Add(1)
				_ = f.Close()
			case !errors.Is(err, ErrExists):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if _, free, _ := e.Space(); made.Load() != 1 || before-free != 1<<20 {
		t.Errorf("%d creations succeeded, %d bytes are taken", made.Load(), before-free)
	}
}

func TestAShrunkDeviceIsRefused(t *testing.T) {
	name := newDevice(t, 8<<20)
	if err := os.Truncate(name, 6<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(name, Config{Logger: quiet}); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
	if err := os.Truncate(name, 10<<20); err != nil { // its second superblock is gone
		t.Fatal(err)
	}
	if err := openDev(t, name, nil, true).Close(); err != nil {
		t.Errorf("a device that grew: %v", err)
	}
}
