package node

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/store"
	"github.com/ashlar-storage/ashlar/rpc/ops"
)

func TestNodeIsReadyOnceItKnowsWhatToServe(t *testing.T) {
	c := startCluster(t, 1, 1)
	n := c.nodes[0]
	a, err := n.listenAdmin(ops.Config{Addr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if code, body := getAdmin(t, a, "/healthz"); code != http.StatusOK || string(body) != "ok\n" {
		t.Errorf("a node that serves: %d %s", code, body)
	}
	n.adopted.Store(false)
	code, body := getAdmin(t, a, "/healthz")
	if code != http.StatusServiceUnavailable || !strings.Contains(string(body), "what to serve") {
		t.Errorf("a node that was told nothing: %d %s", code, body)
	}
}

func TestHeartbeatTellsWhatHasWaitedTooLongInTheNodesOwnWords(t *testing.T) {
	r := store.Report{Waiting: store.Waiting{Age: 42 * time.Second, Copyset: 17, Op: "write",
		Stage: "commit", Device: time.Second}}
	w := waitingReport(&r)
	if w.AgeNs != 42e9 || w.CopysetId != 17 || w.Op != "write" || w.Stage != "commit" ||
		w.DeviceNs != 1e9 || w.Late != "" {
		t.Errorf("within the bound: %v", w)
	}
	r.Late = errors.New("late")
	want := "a write has waited 42s for the logs of a majority (copyset 17)"
	if w := waitingReport(&r); w.Late != want {
		t.Errorf("beyond it: %q, want %q", w.Late, want)
	}
}
