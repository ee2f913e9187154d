package cost

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/perf/meter"
)

// node serves counters that grow with each reading.
func node(t *testing.T) string {
	t.Helper()
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		v := n.Add(1)
		fmt.Fprintf(w, `{"runtime":{"mallocs":%d},"stores":[{"disk":{"write_bytes":%d}}],
			"traffic":{"tcp":{"received":{"copied":%d,"bytes":1}}}}`, v*1000, v*8192, v*3*4096)
	}))
	t.Cleanup(s.Close)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	return "127.0.0.1:" + port
}

func TestCostIsDividedByOperationsAndUserBytes(t *testing.T) {
	ctx := context.Background()
	self := Self()
	read := 0.0
	self.Counters = func() meter.Stats {
		read++
		return meter.Stats{"copied": read * 2048, "moved.tcp": read * 4096}
	}
	w, err := Start(ctx, []Process{self, {Name: "n1", PID: os.Getpid(), Admin: node(t)}}, false)
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(60 * time.Millisecond); time.Now().Before(end); {
		_ = strings.Repeat("x", 100)
	}
	p, err := w.Stop(ctx, 100, 4096, 4096)
	if err != nil {
		t.Fatal(err)
	}
	// The counters grew once until the end, and once more until what was put off was written.
	if p.Allocations == nil || *p.Allocations != 10 || p.WrittenBytes == nil ||
		*p.WrittenBytes != 4 {
		t.Errorf("%v", p)
	}
	if p.CPU["client"] <= 0 || p.TotalCPU < p.CPU["client"] {
		t.Errorf("CPU: %v of %v us", p.CPU, p.TotalCPU)
	}
	if text := p.String(); !strings.Contains(text, "bytes written by the nodes for each=4.00") ||
		!strings.Contains(text, "copies of each byte: client=0.5 nodes=3.0, over tcp") {
		t.Error(text)
	}
}

func TestProcessThatIsGoneIsNamed(t *testing.T) {
	_, err := Start(context.Background(), []Process{{Name: "n9", PID: 1 << 30}}, false)
	if err == nil || !strings.Contains(err.Error(), "n9") {
		t.Errorf("error = %v", err)
	}
}

func TestIdleUseIsTakenOffByItsTime(t *testing.T) {
	u := Usage{Seconds: 10, CPU: map[string]float64{"a": 3}, Nodes: meter.Stats{"x": 100}}
	idle := Usage{Seconds: 5, CPU: map[string]float64{"a": 1}, Nodes: meter.Stats{"x": 10}}
	if got := u.Less(idle); got.CPU["a"] != 1 || got.Nodes["x"] != 80 {
		t.Errorf("%+v", got)
	}
}
