package server

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/ops"

	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

const lateWords = "a write has waited 42s for the logs of a majority (copyset 17)"

func TestRequestThatWaitsForTooLongDegradesTheHealthUntilItIsAnswered(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.tick(time.Second)
	if s := w.status(); s.Health != stateOK {
		t.Fatalf("at first: %s %q", s.Health, s.Problems)
	}
	n := w.nodes[1]
	n.waiting = &v1.Waiting{AgeNs: 42e9, CopysetId: 17, Op: "write", Stage: "commit",
		Late: lateWords}
	w.beat()
	s := w.status()
	if s.Health != healthDegraded || len(s.Problems) != 1 ||
		s.Problems[0] != "store 2 (/store2 on node n2): "+lateWords {
		t.Errorf("%s %q", s.Health, s.Problems)
	}
	if got := w.srv.cluster().sample(); got.late != 1 || got.oldest != 42*time.Second {
		t.Errorf("metrics: %d late, oldest %v", got.late, got.oldest)
	}
	list, err := w.Admin.ListNodes(ctx, &v1.ListNodesRequest{})
	w.ok(err)
	if got := list.Nodes[1].Stores[0].Waiting; got.GetAgeNs() != 42e9 || got.GetOp() != "write" {
		t.Errorf("listed: %v", got)
	}
	n.waiting = &v1.Waiting{AgeNs: 4e6, CopysetId: 17, Op: "write", Stage: "commit"}
	w.beat()
	if s := w.status(); s.Health != stateOK {
		t.Errorf("when it is answered: %s %q", s.Health, s.Problems)
	}
}

func TestHealthPageOfAControlPlaneThatHangsSaysSo(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Admin = ops.Config{Addr: "127.0.0.1:0"} })
	ask := func() (int, string) {
		resp, err := http.Get(r.srv.admin.URL() + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	if code, body := ask(); code != 200 {
		t.Errorf("at first: %d %s", code, body)
	}
	r.srv.cluster().mu.Lock() // as by a change of the metadata whose disk hangs
	code, body := ask()
	r.srv.cluster().mu.Unlock()
	if code != 503 || !strings.Contains(body, "has not said") {
		t.Errorf("while it hangs: %d %s", code, body)
	}
}
