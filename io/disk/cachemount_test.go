package disk

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// mountsFor names the test that runs in a mount namespace of its own: the test binary starts itself
// again there, because a namespace belongs to a process and not to a goroutine.
const mountsFor = "ASHLAR_TEST_MOUNTS"

// inPrivateMounts runs the calling test again where it may mount, and says whether this is there.
func inPrivateMounts(t *testing.T) bool {
	t.Helper()
	if os.Getenv(mountsFor) == t.Name() {
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.v", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), mountsFor+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	switch text := string(out); {
	case cmd.ProcessState == nil:
		t.Skipf("no mount namespace here: %v", err)
	case err != nil:
		t.Fatalf("%v\n%s", err, text)
	case strings.Contains(text, "--- SKIP"):
		t.Skip(text)
	case !strings.Contains(text, "--- PASS: "+t.Name()+" "):
		t.Fatalf("it did not run there:\n%s", text)
	}
	return false
}

func execute(t *testing.T, args ...string) error {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Logf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
	return err
}

func cacheOf(t *testing.T, dir string) Cache {
	t.Helper()
	c, err := CacheOf(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %v: %s: %s", dir, c.Verdict, c.Where, c.Reason)
	return c
}

func TestAMountedMemoryFileSystemIsVolatile(t *testing.T) {
	if !inPrivateMounts(t) {
		return
	}
	dir := t.TempDir()
	below := filepath.Join(dir, "a b", "c")
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	defer syscall.Unmount(dir, 0)
	if err := os.MkdirAll(below, 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(below, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, below, link} {
		if c := cacheOf(t, path); c.Verdict != CacheVolatile ||
			c.Where != dir+" (tmpfs)" {
			t.Errorf("%s: %+v", path, c)
		}
	}
}

func TestAMountedImageIsVolatileWithoutBarriersOnly(t *testing.T) {
	if !inPrivateMounts(t) {
		return
	}
	image, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	// What the image itself lies on decides too, unless flushes end before they get there.
	base := cacheOf(t, filepath.Dir(image)).Verdict
	if base == CacheNone { // the pages of the image are a cache, whatever the disk has
		base = CacheFlushed
	}
	err := os.WriteFile(image, nil, 0o600)
	if err == nil {
		err = os.Truncate(image, 16<<20)
	}
	if err != nil {
		t.Fatal(err)
	}
	if execute(t, "mke2fs", "-q", "-F", "-t", "ext4", image) != nil ||
		execute(t, "mount", "-o", "loop", image, dir) != nil {
		t.Skip("needs mke2fs, loop devices and ext4")
	}
	defer func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	if c := cacheOf(t, dir); c.Verdict != base || !strings.Contains(c.Where, " on loop") {
		t.Errorf("mounted plainly: %+v, its image is on %v", c, base)
	}
	if err := execute(t, "mount", "-o", "remount,barrier=0", dir); err != nil {
		t.Fatal(err)
	}
	without := cacheOf(t, dir)
	if without.Verdict != CacheVolatile || !strings.Contains(without.Fix, "barrier "+dir) &&
		base != CacheVolatile {
		t.Errorf("mounted with barrier=0: %+v", without)
	}
	// What the fix says works.
	if err := execute(t, "mount", "-o", "remount,barrier", dir); err != nil {
		t.Fatal(err)
	}
	if c := cacheOf(t, dir); c.Verdict != base {
		t.Errorf("with barriers again: %+v", c)
	}
}
