package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

// checked is what `ashlar check` prints.
type checked struct {
	Operations int
	Verdict    string
	Strikes    []struct {
		Kind, Node string
		PID        int
	}
}

func TestCheckStrikesNodesAndJudgesWhatClientsSaw(t *testing.T) {
	skipShort(t)
	c := start(t, filepath.Join(t.TempDir(), "data"))
	out, errOut, status := ashlar("check", "--data", c.dir, "--for", "1s", "--every", "1s",
		"--strike", "kill,freeze", "-o", "json")
	var got checked
	if err := json.Unmarshal([]byte(out), &got); err != nil || status != 0 {
		t.Fatalf("status %d, %v: %s%s", status, err, out, errOut)
	}
	if len(got.Strikes) < 2 || got.Strikes[0].Kind != "kill" || got.Strikes[1].Kind != "freeze" ||
		got.Strikes[0].Node == got.Strikes[1].Node {
		t.Errorf("struck: %+v", got.Strikes)
	}
	if got.Operations < 100 || !strings.Contains(got.Verdict, "linearizable") {
		t.Errorf("%d operations: %s", got.Operations, got.Verdict)
	}
	var volumes []struct{ Name, State string }
	c.ask(&volumes, "volume", "list")
	for _, v := range volumes {
		if v.State != "deleting" {
			t.Errorf("left behind: %+v", v)
		}
	}
	c.stop()
}
