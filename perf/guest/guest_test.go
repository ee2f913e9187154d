package guest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// entries reads an archive back: names with mode and content.
func entries(t *testing.T, b []byte) map[string]string {
	t.Helper()
	all := map[string]string{}
	for len(b) > 0 {
		if string(b[:6]) != "070701" {
			t.Fatalf("no header: %q", b[:min(len(b), 20)])
		}
		field := func(i int) int {
			n, err := strconv.ParseInt(string(b[6+8*i:14+8*i]), 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			return int(n)
		}
		mode, size, nameSize := field(1), field(6), field(11)
		name := string(b[110 : 110+nameSize-1])
		at := (110 + nameSize + 3) / 4 * 4
		if name == "TRAILER!!!" {
			return all
		}
		all[name] = fmt.Sprintf("%o:%s", mode, b[at:at+size])
		b = b[(at+size+3)/4*4:]
	}
	t.Fatal("no trailer")
	return nil
}

func TestArchiveHoldsFilesAndTheFoldersAboveThem(t *testing.T) {
	from := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(from, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	a := newArchive(&out)
	for _, err := range []error{a.file("bin/deep/x", from), a.text("job", "{}"),
		a.file("bin/y", from), a.close()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	got := entries(t, out.Bytes())
	want := map[string]string{"bin": "40755:", "bin/deep": "40755:", "bin/deep/x": "100755:12345",
		"job": "100755:{}", "bin/y": "100755:12345"}
	for name, text := range want {
		if got[name] != text {
			t.Errorf("%s is %q, want %q", name, got[name], text)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d entries: %v", len(got), got)
	}
}

func TestModulesComeAfterWhatTheyNeed(t *testing.T) {
	dir := t.TempDir()
	for name, needs := range map[string]string{"rdma_rxe": "ib_core,udp_tunnel", "ib_core": "",
		"udp_tunnel": "ib_core", "odd-name": ""} {
		text := "\x7fELF\x00license=GPL\x00depends=" + needs + "\x00name=x\x00"
		if err := os.WriteFile(filepath.Join(dir, name+".ko"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list, err := inOrder(dir, []string{"rdma_rxe", "odd_name", "ib_core"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range list {
		names = append(names, m.Name)
	}
	if got := strings.Join(names, " "); got != "ib_core udp_tunnel rdma_rxe odd_name" {
		t.Errorf("order %s", got)
	}
	if _, err := inOrder(dir, []string{"nbd"}); err == nil ||
		!strings.Contains(err.Error(), "nbd") {
		t.Errorf("a module that is not there: %v", err)
	}
}

func TestMachineThatDoesNotComeToItsEndHasFailed(t *testing.T) {
	m := Machine{Job: Job{Runs: []Run{{Name: "a"}, {Name: "b"}}}}
	for _, c := range []struct {
		name, said string
		failed     string
		over       bool
	}{
		{name: "all well", said: "@@begin a\r\nx\r\n@@end a 0\n@@begin b\n@@end b 0\n@@over\n",
			over: true},
		{name: "a status", said: "@@begin a\n@@end a 0\n@@begin b\n@@end b 2\n@@over\n",
			failed: "b 2", over: true},
		{name: "cut off", said: "@@begin a\n@@end a 0\n@@begin b\n"},
		{name: "a run left out", said: "@@begin a\n@@end a 0\n@@over\n"},
		{name: "nothing", said: ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var lines []string
			failed, over := m.follow(strings.NewReader(c.said), func(run, text string) {
				lines = append(lines, run+":"+text)
			}, func() {})
			if strings.Join(failed, ",") != c.failed || over != c.over {
				t.Errorf("failed %v, over %v; it said %q", failed, over, lines)
			}
		})
	}
}

func TestProgramThatNeedsALoaderIsRefused(t *testing.T) {
	if err := static("/bin/sh"); err == nil || !strings.Contains(err.Error(), "not static") {
		t.Errorf("a shell of the distribution: %v", err)
	}
}
