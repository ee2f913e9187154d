package remote

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ashlar-storage/ashlar/ebpf/mark"
	"github.com/ashlar-storage/ashlar/ebpf/probe"
	"github.com/ashlar-storage/ashlar/ebpf/probe/probetest"
	"github.com/ashlar-storage/ashlar/ebpf/trace"
)

var update = flag.Bool("update", false, "write the golden file")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// told counts what a sink is told.
type told struct {
	ops    []mark.Op
	bios   int
	delays int
}

func (s *told) Op(_ int, o *mark.Op, _ int64) { s.ops = append(s.ops, *o) }
func (s *told) Append(int, *mark.Append)      {}
func (s *told) Ack(int, *mark.Ack)            {}
func (s *told) Delay(int, trace.Delay)        { s.delays++ }
func (s *told) Bio(int, trace.Bio)            { s.bios++ }
func (s *told) Resend(int, trace.Resend)      {}
func (s *told) Ring(int, trace.RingOp)        {}

// stream is every kind of frame once.
func stream(t *testing.T) []byte {
	t.Helper()
	b := putGreeting()
	add := func(kind frameKind, v any) {
		f, err := jsonFrame(kind, v, nil)
		must(t, err)
		b = append(b, f...)
	}
	add(frameHello, hello{Node: "n1", Device: "vda of /store0",
		Missing: []string{"probe: tcp: no"}})
	f := newFrame(frameEvents, nil)
	f.event([]byte("an event"))
	f.event([]byte("another one"))
	b = append(b, f.done()...)
	add(frameState, state{Now: 123456789, Counts: probe.Counts{Lost: 3}})
	add(frameEnd, ending{"enough"})
	return b
}

func TestStreamIsAsItWas(t *testing.T) {
	const golden = "testdata/stream-v1.golden"
	got := stream(t)
	// The sum of the probes' sources changes with them.
	clear(got[16:greetingSize])
	if *update {
		must(t, os.WriteFile(golden, got, 0o644))
	}
	want, err := os.ReadFile(golden)
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Errorf("a stream is\n%q\nand was\n%q", got, want)
	}
}

// readAll reads a stream to its end.
func readAll(raw []byte) (kinds []frameKind, events int, err error) {
	r := bytes.NewReader(raw)
	if err := readGreeting(r); err != nil {
		return nil, 0, err
	}
	for {
		kind, payload, err := readFrame(r)
		if errors.Is(err, io.EOF) && !errors.Is(err, ErrWire) {
			return kinds, events, nil
		}
		if err != nil {
			return kinds, events, err
		}
		kinds = append(kinds, kind)
		if kind == frameEvents {
			if err := eachEvent(payload, func([]byte) { events++ }); err != nil {
				return kinds, events, err
			}
		}
	}
}

func TestDamagedStreamsAreRefused(t *testing.T) {
	good := stream(t)
	kinds, events, err := readAll(good)
	if err != nil || len(kinds) != 4 || events != 2 {
		t.Fatalf("%v, %d events, %v", kinds, events, err)
	}
	at := greetingSize + frameHeadSize
	events = at + bytes.IndexByte(good[at:], '}') + 1
	for what, c := range map[string]struct {
		at    int
		value byte
		class error
	}{
		"magic":                 {0, 'B', ErrWire},
		"version":               {8, 2, ErrVersion},
		"reserved, greeting":    {12, 1, ErrWire},
		"sources of the probes": {20, good[20] + 1, ErrVersion},
		"kind":                  {greetingSize, 9, ErrWire},
		"reserved, frame":       {greetingSize + 2, 1, ErrWire},
		"length":                {greetingSize + 7, 1, ErrWire},
		"length of an event":    {events + frameHeadSize, 200, ErrWire},
	} {
		bad := bytes.Clone(good)
		bad[c.at] = c.value
		if _, _, err := readAll(bad); !errors.Is(err, c.class) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for n := range good {
		kinds, _, err := readAll(good[:n])
		if err == nil && n < greetingSize || len(kinds) > 3 {
			t.Fatalf("cut to %d bytes it is %v, %v", n, kinds, err)
		}
	}
}

func TestRequestsCrossTheWire(t *testing.T) {
	r := request{probes: probe.Config{Features: []probe.Feature{probe.RunQueue, probe.Marks},
		Optional: []probe.Feature{probe.TCP}, MinDelay: time.Millisecond, MinBio: time.Hour,
		Untimed: true}}
	got, err := parseRequest(r.query())
	if err != nil || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", r) {
		t.Errorf("%+v became %+v, %v", r, got, err)
	}
	for query, want := range map[string]string{"": "no feature is asked for",
		"need=marks&min_delay=5": "min_delay", "need=sharks": "sharks",
		"need=marks&min_delay=1s&min_bio=-1s": "min_bio"} {
		w := httptest.NewRecorder()
		Handler(Config{}).ServeHTTP(w, httptest.NewRequest("GET", "/trace?"+query, nil))
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%q: %d %s", query, w.Code, w.Body)
		}
	}
}

func TestTokenIsNotSentInTheClear(t *testing.T) {
	for _, url := range []string{"http://10.1.2.3:7402", "http://node.example:7402"} {
		if _, err := Dial(t.Context(), url, Options{Token: "x"}); !errors.Is(err, ErrClear) {
			t.Errorf("%s: %v", url, err)
		}
	}
	if _, err := Dial(t.Context(), "n1", Options{}); err == nil {
		t.Error("n1 is a URL")
	}
}

// serve has a Handler for the process.
func serve(t *testing.T, m *probetest.Marked) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	mux := http.NewServeMux()
	mux.Handle("GET /trace", Handler(Config{Node: "n1", Process: m.PID,
		Stores: []string{t.TempDir()}, Logger: slog.New(slog.DiscardHandler)}))
	s := httptest.NewUnstartedServer(mux)
	// As the admin listener has them: a stream must outlive both.
	s.Config.ReadTimeout, s.Config.WriteTimeout = time.Second, time.Second
	s.Start()
	t.Cleanup(s.Close)
	return s.URL
}

// await polls until enough has come.
func await(t *testing.T, s *Stream, to probe.Sink, enough func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !enough(); {
		must(t, s.Poll(to))
		if time.Sleep(5 * time.Millisecond); time.Now().After(end) {
			t.Fatal("not within 20 s")
		}
	}
}

func TestEventsOfAnotherMachinesProcessCome(t *testing.T) {
	m := probetest.Start(t)
	url := serve(t, m)
	s, err := Dial(t.Context(), url, Options{Probes: probe.Config{
		Features: []probe.Feature{probe.Marks, probe.RunQueue}, MinDelay: time.Hour}})
	must(t, err)
	defer s.Close()
	if s.Node() != "n1" || !strings.Contains(s.Device(), " of /") || len(s.Missing()) > 0 {
		t.Errorf("node %q, device %q, missing %v", s.Node(), s.Device(), s.Missing())
	}
	var got told
	const each = 1000
	for n := 1; n <= 3; n++ {
		if !m.Send(t, "ops", each) {
			t.Error("the process knows of no probe")
		}
		// Longer than the listener gives a request to arrive and an answer to go.
		await(t, s, &got, func() bool { return len(got.ops) == n*each })
		time.Sleep(600 * time.Millisecond)
	}
	if lost := s.Counts(); lost != (probe.Counts{}) {
		t.Errorf("counts: %+v", lost)
	}
	await(t, s, &got, func() bool {
		times, _ := s.Histograms()
		return times[probe.TimesRunQueue].N > 0
	})
	s.Close()
	for end := time.Now().Add(5 * time.Second); m.Send(t, "ops", 1); {
		if time.Sleep(pollTime); time.Now().After(end) {
			t.Fatal("the probes are still there 5 s after the end")
		}
	}
}

func TestTracesOfANodeAreBoundedInNumber(t *testing.T) {
	m := probetest.Start(t)
	url := serve(t, m)
	o := Options{Probes: probe.Config{Features: []probe.Feature{probe.Marks}}}
	var open []*Stream
	for range maxTracers {
		s, err := Dial(t.Context(), url, o)
		must(t, err)
		defer s.Close()
		open = append(open, s)
	}
	if _, err := Dial(t.Context(), url, o); err == nil ||
		!strings.Contains(err.Error(), "traces are under way") {
		t.Errorf("one more: %v", err)
	}
	open[0].Close()
	for end := time.Now().Add(5 * time.Second); ; {
		s, err := Dial(t.Context(), url, o)
		if err == nil {
			s.Close()
			break
		}
		if time.Sleep(pollTime); time.Now().After(end) {
			t.Fatalf("after one has ended: %v", err)
		}
	}
}

func TestNodeThatGoesEndsTheTrace(t *testing.T) {
	m := probetest.Start(t)
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	s := httptest.NewServer(Handler(Config{Node: "n1", Process: m.PID,
		Logger: slog.New(slog.DiscardHandler)}))
	defer s.Close()
	got, err := Dial(t.Context(), s.URL, Options{Probes: probe.Config{
		Features: []probe.Feature{probe.Marks}}})
	must(t, err)
	defer got.Close()
	s.CloseClientConnections()
	for end := time.Now().Add(5 * time.Second); got.Poll(&told{}) == nil; {
		if time.Sleep(pollTime); time.Now().After(end) {
			t.Fatal("no error 5 s after the connection was cut")
		}
	}
	if err := got.Poll(&told{}); err == nil {
		t.Error("the error does not come again")
	}
}

func TestRefusalsKeepTheirReason(t *testing.T) {
	for code, class := range map[int]error{401: ErrDenied, 403: ErrDenied, 404: nil, 503: nil} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer abc" {
				t.Errorf("token %q", r.Header.Get("Authorization"))
			}
			http.Error(w, "because of the weather", code)
		}))
		_, err := Dial(context.Background(), s.URL, Options{Token: "abc"})
		s.Close()
		if err == nil || class != nil && !errors.Is(err, class) ||
			code != 404 && !strings.Contains(err.Error(), "weather") {
			t.Errorf("%d: %v", code, err)
		}
	}
}
