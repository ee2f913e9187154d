package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// invoke runs a command line and returns its exit status, output and error output.
func invoke(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	t.Setenv(envEndpoint, "")
	var out, errOut bytes.Buffer
	status = Main("v-test", args, &out, &errOut)
	return status, out.String(), errOut.String()
}

func TestMistakesEndWithTheirStatusAndOneLineThatNamesTheFix(t *testing.T) {
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "photo.jpg"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("name: a\nlissten: b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const nobody = "127.0.0.1:1"
	for _, c := range []struct {
		args   string
		status int
		want   string
	}{
		{"wat", exitUsage, `unknown command "wat"`},
		{"volume", exitUsage, "attachments, create, delete, detach, list, purge, rename, resize, " +
			"restore, show"},
		{"volume wat", exitUsage, `unknown verb "wat"`},
		{"volume list", exitUsage, "--endpoint"},
		{"volume list --wat", exitUsage, "--wat"},
		{"volume list -o xml", exitUsage, "table, json, yaml"},
		{"volume list a b", exitUsage, "want [DIR]"},
		{"volume resize v much --endpoint " + nobody, exitUsage, "much"},
		{"volume list a --trash --endpoint " + nobody, exitUsage, "no directories"},
		{"events --since -1h", exitUsage, "--since"},
		{"events --since yesterday", exitUsage, "yesterday"},
		{"explain copyset", exitUsage, "copyset|store|node|volume ID"},
		{"dir rename a", exitUsage, "PATH NEWPATH"},
		{"volume show --endpoint " + nobody, exitUsage, "NAME"},
		{"volume list --endpoint a:1 --data b", exitUsage, "keep one"},
		{"volume list --endpoint nonsense", exitUsage, "host:port"},
		{"volume list --endpoint " + nobody, exitUnavailable, nobody},
		{"volume list --data " + foreign, exitUsage, "ashlar up --data"},
		{"volume create a --endpoint " + nobody, exitUsage, "--size"},
		{"volume create a --size 4Gx --endpoint " + nobody, exitUsage, "4GiB"},
		{"volume create a --size -1 --endpoint " + nobody, exitUsage, "4GiB"},
		{"copyset show x --endpoint " + nobody, exitUsage, "copyset list"},
		{"pool plan", exitUsage, "--stores 60"},
		{"pool plan --stores 9 --zones 2 --capacity 1TB", exitUsage, "3 replicas: want 1 to 2"},
		{"pool plan --stores 9 --zones 3 --capacity 1TB --afr 200%", exitUsage, "2% or 0.02"},
		{"pool plan --stores 9 --zones 3 --capacity 1TB --afr 100%", exitUsage, "less than 1"},
		{"pool plan --stores 9 --zones 3 --capacity 1TB --rebuild x", exitUsage, "others or place"},
		{"pool plan --stores 9 --zones 3 --capacity 1TB -o xml", exitUsage, "table, json"},
		{"pool durability --rebuild-rate 0 --endpoint " + nobody, exitUsage, "100MiB/s"},
		{"pool durability --rebuild-after -1s --endpoint " + nobody, exitUsage, "0s"},
		{"pool durability --endpoint " + nobody, exitUnavailable, nobody},
		{"pool grow 12", exitUsage, "no arguments"},
		{"store drain x --endpoint " + nobody, exitUsage, "store list"},
		{"node drain --endpoint " + nobody, exitUsage, "NAME"},
		{"operator list --endpoint " + nobody, exitUnavailable, nobody},
		{"node run", exitUsage, "--config"},
		{"node run --config " + bad, exitUsage, "line 2"},
		{"control check-config --config " + bad, exitUsage, `unknown key "lissten"`},
		{"gateway check-config --config /nonexistent", exitFailed, "/nonexistent"},
		{"check", exitUsage, "--endpoint"},
		{"check --strike kill --endpoint " + nobody, exitUsage, "--data"},
		{"check --strike wat --data " + foreign, exitUsage, "kill,freeze"},
		{"check --for 0s --endpoint " + nobody, exitUsage, "30s"},
		{"check --endpoint " + nobody, exitUnavailable, nobody},
		{"up", exitUsage, "--data"},
		{"up --data x --size 4GiB", exitUsage, "--volume"},
		{"up --data x --nbd nowhere", exitUsage, "127.0.0.1:10809"},
		{"up --data x --restart-delay -1s", exitUsage, "--restart-delay"},
		{"up --data " + foreign, exitRefused, "photo.jpg"},
		{"up --data " + foreign + "/a --nodes 1000", exitUsage, "--nodes"},
	} {
		mistake(t, c.args, c.status, c.want)
	}
}

// mistake checks that a command line ends with a status and one line that says something.
func mistake(t *testing.T, args string, status int, want string) {
	t.Run(args, func(t *testing.T) {
		got, stdout, stderr := invoke(t, strings.Fields(args)...)
		if got != status || !strings.Contains(stderr, want) {
			t.Errorf("status %d, want %d; said %q, want %q", got, status, stderr, want)
		}
		if stdout != "" || strings.Count(stderr, "\n") != 1 {
			t.Errorf("output %q, error output %q", stdout, stderr)
		}
	})
}

func TestDefaultsOfEachDaemonPassItsOwnCheck(t *testing.T) {
	for _, noun := range []string{"node", "control", "gateway"} {
		status, text, _ := invoke(t, noun, "print-defaults")
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil || status != exitOK {
			t.Fatal(status, err)
		}
		status, stdout, stderr := invoke(t, noun, "check-config", "--config", path)
		if status != exitOK || stdout != path+": ok\n" {
			t.Errorf("%s: status %d, %q, %q", noun, status, stdout, stderr)
		}
	}
}

func TestVersionIsShownInEachFormat(t *testing.T) {
	_, stdout, _ := invoke(t, "version", "-o", "json")
	var v struct{ Version string }
	if err := json.Unmarshal([]byte(stdout), &v); err != nil || v.Version != "v-test" {
		t.Error(stdout, err)
	}
	if _, stdout, _ = invoke(t, "version"); !strings.Contains(stdout, "v-test") {
		t.Error(stdout)
	}
}

func TestCompletionIsWrittenForEachShell(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		status, stdout, stderr := invoke(t, "completion", shell)
		if status != exitOK || !strings.Contains(stdout, "ashlar") {
			t.Errorf("%s: status %d, %q", shell, status, stderr)
		}
	}
}

func TestEveryCommandSaysWhatItDoes(t *testing.T) {
	a := &app{stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}}
	for _, noun := range a.root().Commands() {
		for _, verb := range append(noun.Commands(), noun) {
			if verb.Short == "" && !verb.Hidden {
				t.Errorf("%s has no description", verb.CommandPath())
			}
		}
	}
}
