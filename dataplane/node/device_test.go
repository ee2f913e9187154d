package node

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// file is a store in a large file, used as a block device is.
func file(t testing.TB, path string) string {
	t.Helper()
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 256<<20)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := disk.FormatDevice(path, false); err != nil {
		t.Fatal(err)
	}
	return path
}

// loopDevices gives each path a block device of its own, where the host can.
func loopDevices() func(t testing.TB, path string) string {
	devices := map[string]string{}
	return func(t testing.TB, path string) string {
		t.Helper()
		if devices[path] != "" {
			return devices[path]
		}
		out, err := exec.Command("losetup", "--find", "--show", file(t, path)).CombinedOutput()
		if err != nil {
			t.Skipf("no loop devices here: %v: %s", err, out)
		}
		name := strings.TrimSpace(string(out))
		devices[path] = name
		t.Cleanup(func() {
			if out, err := exec.Command("losetup", "--detach", name).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
		return name
	}
}

func TestStoresOnDevicesKeepWhatWasAcknowledged(t *testing.T) {
	for kind, store := range map[string]func(testing.TB, string) string{"file": file,
		"loop device": loopDevices()} {
		t.Run(kind, func(t *testing.T) {
			c := startClusterOn(t, 3, 3, store)
			m := newModel(c, 8)
			for range 2 {
				for range 100 {
					m.step()
				}
				for i := range c.nodes {
					c.stopNode(i)
				}
				for i := range c.nodes {
					c.startNode(i)
				}
				c.tell()
				m.checkAll()
			}
		})
	}
}

func TestANodeFormatsNoDevice(t *testing.T) {
	path := t.TempDir() + "/device"
	if err := os.WriteFile(path, make([]byte, 16<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Start(Config{Name: "n1", Listen: "127.0.0.1:0", Control: "127.0.0.1:1",
		Stores: []string{path}, PoolBytes: 16 << 20})
	if !errors.Is(err, disk.ErrForeign) || !strings.Contains(err.Error(), "ashlar store format") {
		t.Error(err)
	}
}
