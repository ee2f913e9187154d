package main

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const unitsDir = "../../deploy/systemd"

var unitNouns = []string{"control", "gateway", "node"}

// unit is what a unit file says, by key; each in the order of the file.
func unit(t *testing.T, name string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(unitsDir, name))
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if key, value, found := strings.Cut(line, "="); found && line[0] != '#' {
			keys[key] = append(keys[key], value)
		}
	}
	return keys
}

func TestUnitsSayWhatTheDaemonsKeepTo(t *testing.T) {
	for _, noun := range unitNouns {
		u := unit(t, "ashlar-"+noun+".service")
		for key, want := range map[string]string{"Type": "notify", "NotifyAccess": "main",
			"User": "ashlar", "NoNewPrivileges": "true", "CapabilityBoundingSet": "",
			"RestartPreventExitStatus": "2 7", "StartLimitIntervalSec": "0"} {
			if got := u[key]; len(got) != 1 || got[0] != want {
				t.Errorf("%s: %s is %q, want %q", noun, key, got, want)
			}
		}
		for _, key := range []string{"WatchdogSec", "TimeoutStartSec", "TimeoutStopSec"} {
			if len(u[key]) != 1 {
				t.Errorf("%s has no %s", noun, key)
			}
		}
		if len(u["MemoryDenyWriteExecute"]) != 0 {
			t.Errorf("%s: with MemoryDenyWriteExecute the program does not start", noun)
		}
		for i, verb := range []string{"check-config", "run"} {
			want := "/usr/bin/ashlar " + noun + " " + verb + " --config /etc/ashlar/" + noun +
				".yaml"
			got := u[[]string{"ExecStartPre", "ExecStart"}[i]]
			if len(got) != 1 || got[0] != want {
				t.Errorf("%s: %q, want %q", noun, got, want)
			}
		}
	}
}

// tool is a program that a test needs, or the test is skipped: SYSTEMD=required makes that a
// failure.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("SYSTEMD") == "required" {
			t.Fatal(err)
		}
		t.Skipf("needs %s; SYSTEMD=required makes this a failure", name)
	}
	return path
}

func TestSystemdUnderstandsTheUnitsAndFindsThemSafe(t *testing.T) {
	analyze := tool(t, "systemd-analyze")
	for _, noun := range unitNouns {
		text, err := os.ReadFile(filepath.Join(unitsDir, "ashlar-"+noun+".service"))
		if err != nil {
			t.Fatal(err)
		}
		// The program need not be installed here.
		copied := filepath.Join(t.TempDir(), "ashlar-"+noun+".service")
		text = bytes.ReplaceAll(text, []byte("/usr/bin/ashlar"), []byte("/bin/true"))
		if err := os.WriteFile(copied, text, 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(analyze, "verify", "--man=no", copied).CombinedOutput()
		if err != nil || len(bytes.TrimSpace(out)) > 0 {
			t.Errorf("%s: %v\n%s", noun, err, out)
		}
		// 2.0 of 10; "OK" in its words.
		out, err = exec.Command(analyze, "security", "--offline=true", "--threshold=20",
			"--no-pager", copied).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", noun, err, out)
		}
	}
}

// allowed are the system calls of a set of systemd's, those of sets in it included.
func allowed(t *testing.T, analyze, set string, into map[string]bool) {
	t.Helper()
	out, err := exec.Command(analyze, "syscall-filter", "--no-pager", set).Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		switch name := strings.TrimSpace(line); {
		case name == "" || name[0] == '#' || name == set:
		case name[0] == '@':
			if !into[name] {
				into[name] = true
				allowed(t, analyze, name, into)
			}
		default:
			into[name] = true
		}
	}
}

// called are the system calls in a summary of strace.
func called(t *testing.T, path string) (names []string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		words := strings.Fields(s.Text())
		if len(words) >= 5 && strings.Contains(words[0], ".") && words[len(words)-1] != "total" {
			names = append(names, words[len(words)-1])
		}
	}
	return names
}

// TestClusterRunsWithoutPrivilegesWithinTheFilterOfItsUnits runs a cluster as a user who may
// nothing, and counts the system calls of all its processes.
func TestClusterRunsWithoutPrivilegesWithinTheFilterOfItsUnits(t *testing.T) {
	skipShort(t)
	strace, analyze := tool(t, "strace"), tool(t, "systemd-analyze")
	if os.Getuid() != 0 {
		t.Skip("needs root, to give it up")
	}
	const nobody = 65534
	dir := t.TempDir()
	for _, path := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	home := filepath.Join(dir, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(home, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	program := copyProgram(t, dir)
	counts := filepath.Join(home, "calls")
	c := startAs(t, filepath.Join(home, "cluster"), func(cmd *exec.Cmd) {
		cmd.Args = append([]string{strace, "-f", "-qq", "-c", "-o", counts, program},
			cmd.Args[1:]...)
		cmd.Path = strace
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}, "--nodes", "3", "--volume", "v", "--size", "64MiB", "--wait", "5m")
	client := c.attach(c.url)
	data := make([]byte, 256<<10)
	for off := int64(0); off < 16<<20; off += int64(len(data)) {
		if _, err := client.WriteAt(data, off); err != nil {
			t.Fatal(err)
		}
		if _, err := client.ReadAt(data, off); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.Flush(); err != nil {
		t.Fatal(err)
	}
	client.Close()
	c.stopTraced()
	may := map[string]bool{}
	for _, set := range strings.Fields(unit(t, "ashlar-node.service")["SystemCallFilter"][0]) {
		allowed(t, analyze, set, may)
	}
	names := called(t, counts)
	t.Logf("%d kinds of system calls: %v", len(names), names)
	if !slices.Contains(names, "futex") || !slices.Contains(names, "pwritev2") &&
		!slices.Contains(names, "io_uring_enter") {
		t.Fatalf("strace saw no work: %v", names)
	}
	// The library of tracing asks the kernel what it can as a node starts. Whom the kernel or the
	// filter refuses does without, as this user did.
	may["bpf"] = true
	for _, name := range names {
		if !may[name] {
			t.Errorf("the units do not allow %s", name)
		}
	}
}

// stopTraced ends a cluster below strace, which keeps signals from itself to the end.
func (c *cluster) stopTraced() {
	c.t.Helper()
	for _, p := range c.status().Processes {
		if p.Role == "supervisor" {
			if err := syscall.Kill(p.PID, syscall.SIGTERM); err != nil {
				c.t.Fatal(err)
			}
		}
	}
	select {
	case <-c.ended:
	case <-time.After(stopWait):
		c.t.Fatalf("the cluster did not stop within %v", stopWait)
	}
	if c.err != nil {
		c.t.Fatalf("the cluster did not stop in order: %v\n%s", c.err, c.log)
	}
}

// copyProgram makes a copy of this program that every user can run.
func copyProgram(t *testing.T, dir string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	name := filepath.Join(dir, "ashlar")
	out, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return name
}
