package nbd

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tool skips the test, saying why, when a client is not installed. Where ASHLAR_CI is set the lane
// is claimed to run, so that a missing tool fails it.
func tool(t *testing.T, name, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	why := fmt.Sprintf("%s is not installed (package %s)", name, pkg)
	if os.Getenv("ASHLAR_CI") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
	return ""
}

// runTool returns what a client prints; it must succeed.
func runTool(t *testing.T, path string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(path), strings.Join(args, " "), err, out)
	}
	return string(out)
}

// overBoth runs f with the address of an export over TCP and over a unix socket.
func overBoth(t *testing.T, f func(t *testing.T, m *Memory, uri func(export string) string)) {
	networks := []string{"tcp", "unix"}
	if testing.Short() {
		networks = networks[1:]
	}
	for _, network := range networks {
		t.Run(network, func(t *testing.T) {
			readOnly := fullInfo("fixed", 1<<20)
			readOnly.ReadOnly = true
			m := newMemoryBackend(fullInfo("vol", 64<<20), readOnly)
			m.exports[0].async = true
			s, addr := startServer(t, m, nil)
			if network == "unix" {
				addr = "unix:" + filepath.Join(t.TempDir(), "s")
				if _, err := s.Listen(addr); err != nil {
					t.Fatal(err)
				}
			}
			f(t, m, func(export string) string { return URI(addr, export) })
		})
	}
}

func TestNbdinfoListsTheExportsAndTheirPromises(t *testing.T) {
	nbdinfo := tool(t, "nbdinfo", "libnbd-bin")
	overBoth(t, func(t *testing.T, m *Memory, uri func(string) string) {
		out := runTool(t, nbdinfo, "--list", "--json", uri(""))
		var list struct {
			Protocol string
			Exports  []struct {
				Name        string `json:"export-name"`
				Description string
				Contexts    []string
				Size        int64 `json:"export-size"`
				ReadOnly    bool  `json:"is_read_only"`
				FUA         bool  `json:"can_fua"`
				Flush       bool  `json:"can_flush"`
				Multi       bool  `json:"can_multi_conn"`
				Trim        bool  `json:"can_trim"`
				Zero        bool  `json:"can_zero"`
				FastZero    bool  `json:"can_fast_zero"`
				DF          bool  `json:"can_df"`
				Min         int64 `json:"block_size_minimum"`
				Preferred   int64 `json:"block_size_preferred"`
				Max         int64 `json:"block_size_maximum"`
			}
		}
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		if list.Protocol != "newstyle-fixed" || len(list.Exports) != 2 {
			t.Fatalf("nbdinfo: %s", out)
		}
		v, ro := list.Exports[0], list.Exports[1]
		if v.Name != "vol" || v.Description != "memory of vol" || v.Size != 64<<20 || !v.FUA ||
			!v.Flush || !v.Multi || !v.Trim || !v.Zero || !v.FastZero || !v.DF || v.ReadOnly {
			t.Errorf("vol: %+v", v)
		}
		if v.Min != 1 || v.Preferred != 4096 || v.Max != MaxPayload {
			t.Errorf("block sizes: %d %d %d", v.Min, v.Preferred, v.Max)
		}
		if len(v.Contexts) != 1 || v.Contexts[0] != "base:allocation" {
			t.Errorf("contexts: %v", v.Contexts)
		}
		if ro.Name != "fixed" || !ro.ReadOnly || ro.Trim || ro.Zero {
			t.Errorf("fixed: %+v", ro)
		}
	})
}

// image writes a file with data and holes of every alignment.
func image(t *testing.T, size int64) (path string, sum [32]byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "image")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, off := 0, int64(0); off < size-(2<<20); i++ {
		p := randomBytes(uint64(i), 1+(i*77_777)%1_500_000)
		if _, err := f.WriteAt(p, off); err != nil {
			t.Fatal(err)
		}
		off += int64(len(p)) + int64(i%4)*300_001
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	all, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, sha256.Sum256(all)
}

func TestNbdcopyBothWaysGivesTheSameBytes(t *testing.T) {
	nbdcopy := tool(t, "nbdcopy", "libnbd-bin")
	overBoth(t, func(t *testing.T, m *Memory, uri func(string) string) {
		src, sum := image(t, m.exports[0].info.Size)
		ways := [][]string{{}, {"--connections=4", "--requests=64"}, {"--synchronous"}}
		for _, args := range ways {
			m.exports[0].wipe()
			runTool(t, nbdcopy, append(args, "--flush", src, uri("vol"))...)
			if got := sha256.Sum256(m.exports[0].content()); got != sum {
				t.Errorf("nbdcopy %v: the export differs from the image", args)
			}
			back := filepath.Join(t.TempDir(), "back")
			runTool(t, nbdcopy, append(args, uri("vol"), back)...)
			all, err := os.ReadFile(back)
			if err != nil {
				t.Fatal(err)
			}
			if sha256.Sum256(all) != sum {
				t.Errorf("nbdcopy %v: what came back differs", args)
			}
		}
	})
}

func TestQemuImgConvertAndCompareAgree(t *testing.T) {
	qemu := tool(t, "qemu-img", "qemu-utils")
	overBoth(t, func(t *testing.T, m *Memory, uri func(string) string) {
		src, sum := image(t, m.exports[0].info.Size)
		runTool(t, qemu, "convert", "-n", "-f", "raw", "-O", "raw", "-W", src, uri("vol"))
		if sha256.Sum256(m.exports[0].content()) != sum {
			t.Error("the export differs from the image")
		}
		out := runTool(t, qemu, "compare", "-f", "raw", "-F", "raw", src, uri("vol"))
		if !strings.Contains(out, "identical") {
			t.Errorf("compare: %s", out)
		}
		out = runTool(t, qemu, "map", "--output=json", "-f", "raw", uri("vol"))
		if !strings.Contains(out, `"data": true`) {
			t.Errorf("map: %s", out)
		}
	})
}

func TestQemuIoUnalignedZeroDiscardFlushAndErrors(t *testing.T) {
	qemu := tool(t, "qemu-io", "qemu-utils")
	overBoth(t, func(t *testing.T, m *Memory, uri func(string) string) {
		out := runTool(t, qemu, "-f", "raw",
			"-c", "write -P 0x5a 1 4097", "-c", "read -P 0x5a 1 4097",
			"-c", "write -P 0x11 1048000 70000", "-c", "read -P 0x11 1048000 70000",
			"-c", "write -f -P 0x22 3M 5M", "-c", "read -P 0x22 3M 5M",
			"-c", "write -z 4M 1M", "-c", "read -P 0 4M 1M",
			"-c", "write -z -u 3M 512k", "-c", "read -P 0 3M 512k",
			"-c", "discard 6M 1M", "-c", "read -P 0x22 5M 1M",
			"-c", "aio_write -P 0x33 20M 2M", "-c", "aio_write -P 0x44 30M 100", "-c", "aio_flush",
			"-c", "read -P 0x33 20M 2M", "-c", "read -P 0x44 30M 100", "-c", "flush",
			"-c", "map", uri("vol"))
		if strings.Contains(out, "fail") || strings.Contains(out, "error") {
			t.Errorf("qemu-io:\n%s", out)
		}
		stored := m.exports[0].content()[1:4098]
		if !bytes.Equal(stored, bytes.Repeat([]byte{0x5a}, 4097)) {
			t.Error("the unaligned write is not in the export")
		}
		writer := []string{"-f", "raw", "-c", "write 0 512", uri("fixed")}
		if err := exec.CommandContext(t.Context(), qemu, writer...).Run(); err == nil {
			t.Error("qemu-io opened a read-only export for writing")
		}
		runTool(t, qemu, "-r", "-f", "raw", "-c", "read -P 0 0 1M", uri("fixed"))
	})
}

func TestFioVerifiesItsChecksumsWithFourJobs(t *testing.T) {
	fio := tool(t, "fio", "fio")
	if out, err := exec.Command(fio, "--enghelp").Output(); err != nil ||
		!bytes.Contains(out, []byte("nbd")) {
		if os.Getenv("ASHLAR_CI") == "1" {
			t.Fatal("fio has no nbd engine")
		}
		t.Skip("fio has no nbd engine")
	}
	overBoth(t, func(t *testing.T, m *Memory, uri func(string) string) {
		out := runTool(t, fio, "--name=verify", "--ioengine=nbd", "--uri="+uri("vol"),
			"--rw=randwrite", "--bsrange=512-64k", "--blockalign=512", "--iodepth=32",
			"--numjobs=4", "--size=8M", "--offset_increment=8M", "--verify=crc32c",
			"--verify_fatal=1", "--group_reporting", "--fsync=64")
		if !strings.Contains(out, "err= 0") {
			t.Errorf("fio:\n%s", out)
		}
	})
}
