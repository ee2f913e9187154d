package ops

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// box is what the tests count.
type box struct {
	n     float64
	state string
}

func boxes(look func(each func(*box, ...string))) *Source[box] {
	return &Source[box]{Labels: []string{"box"}, Look: look, Metrics: []Metric[box]{
		{Name: "ashlar_box_things_total", Help: "Things.", Kind: Counter,
			Value: func(b *box) float64 { return b.n }},
		{Name: "ashlar_box_state", Help: "State.", Kind: Gauge,
			Labels: []string{"state"},
			States: func(b *box, each func(string, float64)) {
				OneOf(b.state, []string{"open", "shut"}, each)
			}},
		{Name: "ashlar_box_weight_bytes", Help: "Weights.", Unit: "bytes", Kind: Histogram,
			Histograms: func(_ *box, each func(Group)) {
				each(Group{Count: 3, Sum: 12, Buckets: map[float64]uint64{1: 1, 7: 2}})
			}},
	}}
}

func TestSourceServesEveryKindUnderItsLabels(t *testing.T) {
	src := boxes(func(each func(*box, ...string)) {
		each(&box{n: 5, state: "open"}, "a")
		each(&box{n: 6, state: "gone"}, "b")
	})
	want := `# HELP ashlar_box_state State.
# TYPE ashlar_box_state gauge
ashlar_box_state{box="a",state="open"} 1
ashlar_box_state{box="a",state="shut"} 0
ashlar_box_state{box="b",state="open"} 0
ashlar_box_state{box="b",state="shut"} 0
# HELP ashlar_box_things_total Things.
# TYPE ashlar_box_things_total counter
ashlar_box_things_total{box="a"} 5
ashlar_box_things_total{box="b"} 6
# HELP ashlar_box_weight_bytes Weights.
# TYPE ashlar_box_weight_bytes histogram
ashlar_box_weight_bytes_bucket{box="a",le="1"} 1
ashlar_box_weight_bytes_bucket{box="a",le="7"} 2
ashlar_box_weight_bytes_bucket{box="a",le="+Inf"} 3
ashlar_box_weight_bytes_sum{box="a"} 12
ashlar_box_weight_bytes_count{box="a"} 3
ashlar_box_weight_bytes_bucket{box="b",le="1"} 1
ashlar_box_weight_bytes_bucket{box="b",le="7"} 2
ashlar_box_weight_bytes_bucket{box="b",le="+Inf"} 3
ashlar_box_weight_bytes_sum{box="b"} 12
ashlar_box_weight_bytes_count{box="b"} 3
`
	if err := testutil.CollectAndCompare(src, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	reg, err := Registry(src)
	if err != nil {
		t.Fatal(err)
	}
	CheckCatalog(t, reg, src.Catalog())
}

func TestLabelsThatDoNotFitFailTheScrape(t *testing.T) {
	reg, err := Registry(boxes(func(each func(*box, ...string)) { each(&box{}) }))
	if err != nil {
		t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	Page(reg, quiet()).ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if rec.Code != http.StatusInternalServerError {
		t.Errorf("status %d", rec.Code)
	}
}

func TestScrapesAreBoundedInNumber(t *testing.T) {
	var under sync.WaitGroup
	under.Add(maxScrapes)
	free := make(chan struct{})
	reg, err := Registry(boxes(func(func(*box, ...string)) {
		under.Done()
		<-free
	}))
	if err != nil {
		t.Fatal(err)
	}
	l, err := Listen(Config{Addr: ":0", Logger: quiet()}, Page(reg, quiet()))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if !strings.HasPrefix(l.Addr(), "127.0.0.1:") {
		t.Errorf("an address without a host listens at %s", l.Addr())
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func() int {
		resp, err := client.Get("http://" + l.Addr() + "/metrics")
		if err != nil {
			t.Error(err)
			return 0
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode
	}
	var ended sync.WaitGroup
	for range maxScrapes {
		ended.Go(func() {
			if code := get(); code != http.StatusOK {
				t.Errorf("a scrape within the bound is answered %d", code)
			}
		})
	}
	under.Wait()
	if code := get(); code != http.StatusServiceUnavailable {
		t.Errorf("a scrape beyond the bound is answered %d", code)
	}
	close(free)
	ended.Wait()
}

func TestNoAddressIsNoListener(t *testing.T) {
	l, err := Listen(Config{Logger: quiet()}, http.NotFoundHandler())
	if l != nil || err != nil || l.Close() != nil {
		t.Error(l, err)
	}
	if _, err := Listen(Config{Addr: "nowhere"}, http.NotFoundHandler()); err == nil {
		t.Error("an address without a port is taken")
	}
}
