package runbook

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/perf/netlab"
)

func TestMain(m *testing.M) {
	if status, ok := Systemctl(os.Args); ok {
		os.Exit(status)
	}
	os.Exit(netlab.Run(m.Run))
}

// lab has machines that are on.
func lab(t *testing.T, names ...string) map[string]*Machine {
	t.Helper()
	if testing.Short() {
		t.Skip("makes machines; not with -short")
	}
	if os.Geteuid() != 0 {
		t.Skip("makes machines: needs root")
	}
	net, err := netlab.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := net.Close(); err != nil {
			t.Error(err)
		}
	})
	// Not below the system's directory for temporary files, which may be in memory.
	dir, err := os.MkdirTemp("/var/tmp", "ashlar-lab-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	machines := map[string]*Machine{}
	for _, name := range names {
		m := NewMachine(name, filepath.Join(dir, name), net, "disk0", "disk1")
		if err := os.Mkdir(m.dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := m.PowerOn(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = m.PowerOff() })
		machines[name] = m
	}
	return machines
}

func typed(t *testing.T, m *Machine, script string) string {
	t.Helper()
	out, err := m.Type(t.Context(), script)
	if err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
	return out
}

func TestMachinesHaveTheirOwnNameFilesProcessesAndNetwork(t *testing.T) {
	machines := lab(t, "ash1", "ash2")
	a, b := machines["ash1"], machines["ash2"]
	typed(t, a, "echo one >/etc/of-ash1; cd /etc; there=of-ash1\n"+
		"echo data >/var/lib/ashlar/disk0/kept")
	if got := typed(t, a, "cat $there; hostname; echo $$; hostname -I"); got !=
		"one\nash1\n1\n10.77.0.2 \n" {
		t.Errorf("ash1 is %q", got)
	}
	if _, err := os.Stat("/etc/of-ash1"); err == nil {
		t.Error("what a machine writes is seen outside")
	}
	if got := typed(t, b, "ls /etc/of-ash1 2>&1 || true; hostname -I"); !strings.HasSuffix(got,
		"10.77.0.3 \n") || !strings.Contains(got, "No such file") {
		t.Errorf("ash2 is %q", got)
	}
	if out, err := a.Type(t.Context(), "true\nfalse\necho after"); !errors.Is(err, ErrStep) ||
		!strings.Contains(err.Error(), "1 false") || !strings.Contains(out, "after") {
		t.Errorf("a command that fails: %v, %q", err, out)
	}
	if err := a.PowerOff(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Type(t.Context(), "true"); err == nil {
		t.Error("a machine that is off takes commands")
	}
	if err := a.PowerOn(); err != nil {
		t.Fatal(err)
	}
	if got := typed(t, a, "cat /etc/of-ash1 /var/lib/ashlar/disk0/kept"); got != "one\ndata\n" {
		t.Errorf("after a power cut ash1 has %q", got)
	}
}

const (
	sleeper = `[Service]
Environment=FOR=1000
EnvironmentFile=-/etc/default/%p
ExecStartPre=/bin/true
ExecStart=/bin/sleep $FOR
Restart=on-failure
RestartSec=0.1
RestartPreventExitStatus=7
`
)

func TestUnitsAreKept(t *testing.T) {
	m := lab(t, "ash1")["ash1"]
	typed(t, m, "cat >/etc/systemd/system/sleeper.service <<'EOF'\n"+sleeper+"EOF\n"+
		"echo FOR=2000 >/etc/default/sleeper\nsystemctl daemon-reload\n"+
		"systemctl enable --now sleeper\nsystemctl is-active sleeper")
	pid := typed(t, m, "pgrep -x sleep")
	if got := typed(t, m, "tr '\\0' ' ' </proc/"+strings.TrimSpace(pid)+"/cmdline"); got !=
		"/bin/sleep 2000 " {
		t.Errorf("it runs %q", got)
	}
	typed(t, m, "systemctl kill -s KILL sleeper")
	for end := time.Now().Add(10 * time.Second); ; {
		again, err := m.Type(t.Context(), "pgrep -x sleep")
		if err == nil && again != pid {
			break
		}
		if time.Sleep(50 * time.Millisecond); time.Now().After(end) {
			t.Fatal("a unit that was killed is not started again")
		}
	}
	typed(t, m, "systemctl restart sleeper\nsystemctl stop sleeper\n! pgrep -x sleep")
	if out, err := m.Type(t.Context(), "systemctl is-active sleeper"); err == nil ||
		out != "inactive\n" {
		t.Errorf("a unit that was stopped: %q, %v", out, err)
	}
	if out, err := m.Type(t.Context(), "systemctl start nothing"); err == nil ||
		!strings.Contains(out, "not found") {
		t.Errorf("a unit that is not there: %q, %v", out, err)
	}
}
