package view

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/ebpf/mark"
	"github.com/ashlar-storage/ashlar/ebpf/trace"
)

func textOf(t *testing.T, doc Text) string {
	t.Helper()
	var out bytes.Buffer
	if err := WriteTrace(&out, false, doc); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func wantText(t *testing.T, doc Text, lines ...string) {
	t.Helper()
	if got, want := textOf(t, doc), strings.Join(lines, "\n")+"\n"; got != want {
		t.Errorf("written\n%s\nwant\n%s", got, want)
	}
}

func TestStagesAreATableAndAVerdict(t *testing.T) {
	times := trace.Times{Count: 1234, P50: 90 * time.Microsecond, P99: 1500 * time.Microsecond,
		P999: 2 * time.Millisecond, Max: 31 * time.Millisecond}
	wantText(t, Stages{Resent: 3, Skipped: 2, Kinds: []trace.Kind{{Name: "write", Total: times,
		Failed: 1, Tail: 12, From: 1500 * time.Microsecond, Verdict: "somebody",
		Rows: []trace.Row{{Part: "queue", Times: times},
			{Part: "log write", Where: "n1", Times: times, Tail: 0.756}}}}},
		"write: 1,234 requests, 1 failed; us: p50 90, p99 1,500, p99.9 2,000, max 31,000",
		"       PART  WHERE  COUNT  P50(us)  P99(us)  P99.9(us)  MAX(us)  TAIL",
		"      queue    all   1234       90    1,500      2,000   31,000    0%",
		"  log write     n1   1234       90    1,500      2,000   31,000   76%",
		"tail: the slowest 12, from 1,500 us on",
		"verdict: somebody",
		"",
		"2 events found no room and are not in these figures",
		"TCP sent 3 segments again")
	wantText(t, Stages{}, "no requests")
}

func TestSnoopIsALineForEachRequest(t *testing.T) {
	op := mark.Op{Offset: 8192, Length: 4096, Copyset: 7,
		Spent: [mark.Stages]int64{1000, 0, 0, 90_500, 0, 0, 2500}}
	wantText(t, Snoop{Head: true, Stages: []string{"queue", "lane", "lease", "read", "propose",
		"commit", "reply"}, Lines: []SnoopLine{{At: 1500 * time.Millisecond, Node: "n1",
		Kind: "read", Volume: "vol", Took: 94 * time.Microsecond, Request: op}}},
		"TIME(s)     NODE       OP    VOLUME             OFFSET   BYTES COPYSET  ST   LAT(us)"+
			"    QUEUE     LANE    LEASE     READ  PROPOSE   COMMIT    REPLY",
		"1.500000    n1         read  vol                  8192    4096       7   0      94.0"+
			"      1.0      0.0      0.0     90.5      0.0      0.0      2.5")
}

func TestSlowRequestIsAStory(t *testing.T) {
	wantText(t, Slow{Volume: "vol", At: 2 * time.Second, Timeline: trace.Timeline{Kind: "write",
		Node: "n1", Took: 5 * time.Millisecond, Op: mark.Op{Length: 4096, Offset: 12288, Copyset: 3,
			Index: 99},
		Moments: []trace.Moment{{After: 1500, Took: 4 * time.Millisecond, Where: "n1",
			What: "log write"}, {After: 5_000_000, Where: "n1", What: "has the word of n2"}}}},
		"2.000000 s: write of 4096 bytes at 12288 of vol took 5000 us on n1 (copyset 3, entry 99, "+
			"status 0)",
		"           2      4000  n1         log write",
		"        5000            n1         has the word of n2")
}

func TestTopHasTheBusiestFirstAndNoMoreThanAskedFor(t *testing.T) {
	top := NewTop()
	for i, name := range []string{"a", "b", "c"} {
		for range i + 1 {
			top.Add("volume", name, "write", 4096, time.Millisecond)
		}
	}
	top.Finish(2*time.Second, 2)
	wantText(t, top,
		"  VOLUME     OP  IOPS  BYTES/s  AVG(us)  MAX(us)  IN FLIGHT",
		"       c  write     2  6.0 KiB    1,000    1,000       0.00",
		"       b  write     1  4.0 KiB    1,000    1,000       0.00",
		"")
}

func TestTracesAreOneLineOfJSON(t *testing.T) {
	var h trace.Hist
	h.Add(3000)
	for _, doc := range []Text{Stages{}, Latency{LatencyOf("n1", "run queue", h)}, Snoop{}, Slow{},
		NewTop()} {
		var out bytes.Buffer
		if err := WriteTrace(&out, true, doc); err != nil {
			t.Fatal(err)
		}
		if strings.Count(out.String(), "\n") != 1 || !json.Valid(out.Bytes()) {
			t.Errorf("%T is written as %q", doc, out.String())
		}
	}
}
