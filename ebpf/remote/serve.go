package remote

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/ashlar-storage/ashlar/ebpf/mark"
	"github.com/ashlar-storage/ashlar/ebpf/probe"
	"github.com/ashlar-storage/ashlar/ebpf/trace"
)

// Config is a node as its Handler describes it.
type Config struct {
	Node    string
	Process int      // that is traced; 0: this one
	Stores  []string // paths
	// Who names who asks, for the log; nil: nobody is named.
	Who    func(*http.Request) string
	Logger *slog.Logger
}

// Handler traces a process for those who ask.
func Handler(cfg Config) http.Handler {
	if cfg.Process == 0 {
		cfg.Process = os.Getpid()
	}
	return &handler{cfg: cfg, slots: make(chan struct{}, maxTracers)}
}

type handler struct {
	cfg   Config
	slots chan struct{}
}

// timesTable are the histograms of a process, by probe.Times.
type timesTable [probe.TimesOf]trace.Hist

// clockAnswer is what a node says when it is asked for its clock.
type clockAnswer struct {
	Now  int64  `json:"now"`
	Boot string `json:"boot"` // of the machine: those of one boot have one clock
}

// bootID names this boot of this machine.
func bootID() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if query.Has("clock") {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(clockAnswer{mark.Now(), bootID()})
		return
	}
	req, err := parseRequest(query)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	default:
		http.Error(w, fmt.Sprintf("remote: %d traces are under way: wait for one to end",
			maxTracers), http.StatusServiceUnavailable)
		return
	}
	req.probes.Processes = []int{h.cfg.Process}
	probes, err := probe.Attach(req.probes)
	if err != nil {
		code := http.StatusInternalServerError
		if errors.Is(err, probe.ErrRefused) {
			code = http.StatusNotImplemented
		}
		http.Error(w, err.Error(), code)
		return
	}
	defer probes.Close()
	who := "somebody"
	if h.cfg.Who != nil {
		who = h.cfg.Who(r)
	}
	h.cfg.Logger.Info("a trace begins", "by", who, "from", r.RemoteAddr,
		"features", req.probes.Features)
	s := &sending{w: w, control: http.NewResponseController(w), probes: probes,
		histograms: !req.probes.Untimed}
	err = s.run(h.hello(probes), r.Context().Done())
	h.cfg.Logger.Info("a trace ended", "by", who, "why", err)
}

func (h *handler) hello(probes *probe.Probes) hello {
	me := hello{Node: h.cfg.Node}
	var devices []string
	for _, path := range h.cfg.Stores {
		devices = append(devices, probe.DeviceOf(path))
	}
	me.Device = strings.Join(devices, ", ")
	for _, err := range probes.Missing() {
		me.Missing = append(me.Missing, err.Error())
	}
	return me
}

// request is what a tracer wants.
type request struct {
	probes probe.Config
}

func (r *request) query() url.Values {
	q := url.Values{"min_delay": {r.probes.MinDelay.String()},
		"min_bio": {r.probes.MinBio.String()}}
	for _, f := range r.probes.Features {
		q.Add("need", string(f))
	}
	for _, f := range r.probes.Optional {
		q.Add("like", string(f))
	}
	if !r.probes.Untimed {
		q.Set("histograms", "1")
	}
	return q
}

func parseRequest(q url.Values) (r request, err error) {
	known := func(names []string) (list []probe.Feature, err error) {
		for _, name := range names {
			if !probe.Known(probe.Feature(name)) {
				return nil, fmt.Errorf("remote: no feature %.40q", name)
			}
			list = append(list, probe.Feature(name))
		}
		return list, nil
	}
	if r.probes.Features, err = known(q["need"]); err != nil {
		return r, err
	}
	if r.probes.Optional, err = known(q["like"]); err != nil {
		return r, err
	}
	if len(r.probes.Features) == 0 {
		return r, errors.New("remote: need: no feature is asked for")
	}
	if r.probes.MinDelay, err = durationOf(q, "min_delay"); err != nil {
		return r, err
	}
	r.probes.Untimed = !q.Has("histograms")
	r.probes.MinBio, err = durationOf(q, "min_bio")
	return r, err
}

func durationOf(q url.Values, name string) (time.Duration, error) {
	d, err := time.ParseDuration(q.Get(name))
	if err != nil || d < 0 {
		return 0, fmt.Errorf("remote: %s: %.40q is no duration, such as 100us", name, q.Get(name))
	}
	return d, nil
}

// sending is one stream on its way.
type sending struct {
	w          http.ResponseWriter
	control    *http.ResponseController
	probes     *probe.Probes
	histograms bool
	told       time.Time // when histograms were
	room       []byte    // of frames, used again
}

// run sends until the tracer goes, or something fails, which it returns.
func (s *sending) run(me hello, gone <-chan struct{}) error {
	s.w.Header().Set("Content-Type", "application/octet-stream")
	// The bound of a request's arrival would end the wait for the tracer's going.
	if err := s.control.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	if err := s.write(putGreeting()); err != nil {
		return err
	}
	if err := s.tell(frameHello, me); err != nil {
		return err
	}
	poll := time.NewTicker(pollTime)
	defer poll.Stop()
	for {
		err := s.poll()
		if err != nil {
			return errors.Join(err, s.tell(frameEnd, ending{err.Error()}), s.flush())
		}
		if err := s.flush(); err != nil {
			return err
		}
		select {
		case <-gone:
			return nil
		case <-poll.C:
		}
	}
}

// poll sends the events that wait, and how things are.
func (s *sending) poll() error {
	var failed error
	f := newFrame(frameEvents, s.room)
	err := s.probes.Records(func(raw []byte) {
		if !f.fits(raw) {
			failed = errors.Join(failed, s.write(f.done()))
			f = newFrame(frameEvents, f.b)
		}
		f.event(raw)
	})
	if f.payload() > 0 {
		failed = errors.Join(failed, s.write(f.done()))
	}
	s.room = f.b
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	now, err := s.state()
	if err != nil {
		return err
	}
	return s.tell(frameState, now)
}

func (s *sending) state() (now state, err error) {
	if now.Counts, err = s.probes.Counts(0); err != nil {
		return now, err
	}
	if s.histograms && time.Since(s.told) >= stateTime {
		s.told = time.Now()
		now.Times = &timesTable{}
		for i := range now.Times {
			if now.Times[i], err = s.probes.Times(0, probe.Times(i)); err != nil {
				return now, err
			}
		}
		if now.Devices, err = s.probes.Devices(); err != nil {
			return now, err
		}
	}
	now.Now = mark.Now()
	return now, nil
}

func (s *sending) tell(kind frameKind, v any) error {
	b, err := jsonFrame(kind, v, nil)
	if err != nil {
		return err
	}
	return s.write(b)
}

// write gives the tracer stallTime to read.
func (s *sending) write(b []byte) error {
	if err := s.control.SetWriteDeadline(time.Now().Add(stallTime)); err != nil {
		return err
	}
	_, err := s.w.Write(b)
	return err
}

func (s *sending) flush() error { return s.control.Flush() }
