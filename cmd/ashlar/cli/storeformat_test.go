package cli

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// newStoreDevice makes a store in a file in place of a device.
func newStoreDevice(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "device")
	if err := errors.Join(os.WriteFile(name, nil, 0o600), os.Truncate(name, 64<<20)); err != nil {
		t.Fatal(err)
	}
	status, stdout, stderr := invoke(t, "store", "format", name, "-o", "json")
	var doc struct {
		Path     string
		Capacity int64 `json:"capacity_bytes"`
		Files    int64
	}
	if err := json.Unmarshal([]byte(stdout), &doc); err != nil || status != exitOK ||
		doc.Path != name || doc.Capacity < 60<<20 || doc.Files < 1000 {
		t.Fatalf("status %d, %v, %s%s", status, err, stdout, stderr)
	}
	return name
}

func TestStoreOnADeviceIsFormattedOnceAndLookedAtLikeAnother(t *testing.T) {
	name := newStoreDevice(t)
	fillStore(t, name)
	status, stdout, stderr := invoke(t, "store", "check", name)
	if status != exitOK || !strings.Contains(stdout, "clean") {
		t.Errorf("check: status %d, %s%s", status, stdout, stderr)
	}
	if status, stdout, stderr = invoke(t, "store", "dump-wal", name); status != exitOK {
		t.Errorf("dump-wal: status %d, %s%s", status, stdout, stderr)
	}
	status, _, stderr = invoke(t, "store", "format", name)
	if status != exitExists || !strings.Contains(stderr, "--force") {
		t.Errorf("format again: status %d, %s", status, stderr)
	}
	if status, _, _ = invoke(t, "store", "check", name); status != exitOK {
		t.Errorf("check after a refused format: status %d", status)
	}
	if status, _, stderr = invoke(t, "store", "format", name, "--force"); status != exitOK {
		t.Errorf("format by force: status %d, %s", status, stderr)
	}
	status, _, stderr = invoke(t, "store", "check", name)
	if status != exitRefused || !strings.Contains(stderr, "no STORE file") {
		t.Errorf("check of an empty device: status %d, %s", status, stderr)
	}
}

func TestMistakesWithDevicesNameTheFix(t *testing.T) {
	dir := t.TempDir()
	blank, small := filepath.Join(dir, "blank"), filepath.Join(dir, "small")
	for name, size := range map[string]int64{blank: 8 << 20, small: 1 << 20} {
		if err := os.WriteFile(name, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	held := newStoreDevice(t)
	d, err := disk.Open(held, disk.Config{NoURing: true})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"format"}, exitUsage, "DEVICE"},
		{[]string{"format", filepath.Join(dir, "none")}, exitUsage, "no block device"},
		{[]string{"format", dir}, exitUsage, "neither a block device nor a file"},
		{[]string{"format", small}, exitUsage, "or more"},
		{[]string{"format", held, "--force"}, exitRefused, "in use"},
		{[]string{"check", held}, exitRefused, "stop the node"},
		{[]string{"check", blank}, exitRefused, "store format"},
	} {
		status, _, stderr := invoke(t, append([]string{"store"}, c.args...)...)
		if status != c.status || !strings.Contains(stderr, c.want) ||
			strings.Count(stderr, "\n") != 1 {
			t.Errorf("%v: status %d, %q", c.args, status, stderr)
		}
	}
}

func TestCheckTellsOfACopyThatIsDamagedAndLeavesIt(t *testing.T) {
	name := newStoreDevice(t)
	fillStore(t, name)
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte{0xff}, 64<<10+70)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		status, _, stderr := invoke(t, "store", "check", name)
		if status != exitOK || strings.Count(stderr, "damaged in one copy") != 1 {
			t.Errorf("status %d, %s", status, stderr)
		}
	}
}

func TestCheckOfADeviceWithoutAFileEndsWithEight(t *testing.T) {
	name := newStoreDevice(t)
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	wiped := make([]byte, 512<<10) // both directories, and blocks without files between them
	_, err1 := f.WriteAt(wiped, 64<<10)
	_, err2 := f.WriteAt(wiped, 64<<20-4096-int64(len(wiped)))
	if err := errors.Join(err1, err2, f.Close()); err != nil {
		t.Fatal(err)
	}
	status, _, stderr := invoke(t, "store", "check", name)
	if status != exitDamaged || !strings.Contains(stderr, "entry 0, at offsets") {
		t.Errorf("status %d, %s", status, stderr)
	}
}
