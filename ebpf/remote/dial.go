package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ashlar-storage/ashlar/ebpf/mark"
	"github.com/ashlar-storage/ashlar/ebpf/probe"
)

var (
	// ErrDenied marks a node that does not let this token trace it.
	ErrDenied = errors.New("remote: denied")
	// ErrClear marks a token that would travel where others can read it.
	ErrClear = errors.New("remote: token in the clear")
)

// Options say who traces, and what.
type Options struct {
	Token    string
	Roots    *x509.CertPool // that certificates must lead to; nil: the system's
	Insecure bool           // send the token without TLS too
	// Probes are as for probe.Attach, but the processes, which are the node's. Histograms come if
	// it is not Untimed.
	Probes probe.Config
}

// Dial begins a trace of the node whose admin listener has the URL. The context bounds the
// beginning only. Close ends it.
func Dial(ctx context.Context, admin string, o Options) (*Stream, error) {
	at, err := url.Parse(admin)
	if err != nil || at.Host == "" {
		return nil, fmt.Errorf("remote: %.80q is no URL of an admin listener", admin)
	}
	if at.Scheme != "https" && !o.Insecure && !loopback(at.Hostname()) {
		return nil, fmt.Errorf("%w: to %s: set admin_cert and admin_key in the node's settings, "+
			"or allow it", ErrClear, at.Host)
	}
	life, cancel := context.WithCancel(context.Background())
	stop := context.AfterFunc(ctx, cancel)
	defer stop()
	s := &Stream{cancel: cancel, client: &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: o.Roots, MinVersion: tls.VersionTLS13}}},
		frames: make(chan received, backlog), done: make(chan struct{})}
	if err := s.begin(life, at.JoinPath("trace"), o); err != nil {
		close(s.done)
		s.Close()
		return nil, errors.Join(err, ctx.Err())
	}
	return s, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (s *Stream) begin(ctx context.Context, at *url.URL, o Options) error {
	if err := s.askClock(ctx, at, o.Token); err != nil {
		return err
	}
	req := request{probes: o.Probes}
	at.RawQuery = req.query().Encode()
	body, err := s.get(ctx, at, o.Token)
	if err != nil {
		return err
	}
	s.body = body
	if err := readGreeting(body); err != nil {
		return err
	}
	kind, payload, err := readFrame(body)
	if err != nil {
		return fmt.Errorf("remote: hello: %w", err)
	}
	if kind != frameHello {
		return fmt.Errorf("%w: the first frame is of kind %d", ErrWire, kind)
	}
	if err := json.Unmarshal(payload, &s.hello); err != nil {
		return fmt.Errorf("%w: hello: %w", ErrWire, err)
	}
	go s.read()
	return nil
}

// get asks, and returns the body of an answer that is one.
func (s *Stream) get(ctx context.Context, at *url.URL, token string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("remote: %w", err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("remote: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, textMax))
	why := strings.TrimSpace(string(text))
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, fmt.Errorf("%w: %s", ErrDenied, why)
	case http.StatusNotFound:
		return nil, errors.New("remote: this process cannot be traced through its admin listener")
	}
	return nil, fmt.Errorf("remote: %s: %s", resp.Status, why)
}

// askClock finds out how the node's clock differs from this one.
func (s *Stream) askClock(ctx context.Context, at *url.URL, token string) error {
	clockAt := *at
	clockAt.RawQuery = "clock=1"
	var answers []asked
	for range clockAsks {
		sent := mark.Now()
		body, err := s.get(ctx, &clockAt, token)
		if err != nil {
			return err
		}
		var a clockAnswer
		err = json.NewDecoder(io.LimitReader(body, textMax)).Decode(&a)
		came := mark.Now()
		_, _ = io.Copy(io.Discard, body) // so that the connection is used again
		body.Close()
		if err != nil {
			return fmt.Errorf("%w: clock: %w", ErrWire, err)
		}
		if a.Boot != "" && a.Boot == bootID() {
			s.clock.same = true
			return nil
		}
		answers = append(answers, asked{sent, came, a.Now})
	}
	s.clock = newClock(answers)
	return nil
}

// received is a frame and when it came.
type received struct {
	kind    frameKind
	payload []byte
	came    int64
	err     error // the stream ended with it
}

// Stream is a trace of a node elsewhere. Its methods belong to one goroutine.
type Stream struct {
	cancel  context.CancelFunc
	client  *http.Client
	body    io.ReadCloser
	hello   hello
	clock   clock
	frames  chan received
	done    chan struct{} // closed when nobody reads the body any more
	decoder probe.Decoder
	last    state
	ended   error
}

// read puts frames where Poll finds them.
func (s *Stream) read() {
	defer close(s.done)
	defer close(s.frames)
	for {
		kind, payload, err := readFrame(s.body)
		s.frames <- received{kind, payload, mark.Now(), err}
		if err != nil {
			return
		}
	}
}

// Node is what the node calls itself, and Device what its stores are on.
func (s *Stream) Node() string { return s.hello.Node }

// Device names what the node's stores are on.
func (s *Stream) Device() string { return s.hello.Device }

// Missing says which optional features the node does without, and why.
func (s *Stream) Missing() (list []error) {
	for _, text := range s.hello.Missing {
		list = append(list, errors.New(text))
	}
	return list
}

// Poll hands the events that have come to a sink, as those of target 0. An error ends the stream,
// and comes again.
func (s *Stream) Poll(to probe.Sink) error {
	for s.ended == nil {
		select {
		case f, open := <-s.frames:
			if !open {
				s.ended = fmt.Errorf("%w: it ended", ErrWire)
			} else {
				s.ended = s.take(&f, to)
			}
		default:
			return nil
		}
	}
	return s.ended
}

func (s *Stream) take(f *received, to probe.Sink) error {
	switch {
	case f.err != nil:
		return fmt.Errorf("remote: the connection ended: %w", f.err)
	case f.kind == frameEvents:
		there := &translator{to, &s.clock}
		return eachEvent(f.payload, func(raw []byte) { s.decoder.Decode(raw, there) })
	case f.kind == frameState:
		return s.takeState(f)
	case f.kind == frameEnd:
		var e ending
		if err := json.Unmarshal(f.payload, &e); err != nil {
			return fmt.Errorf("%w: end: %w", ErrWire, err)
		}
		return fmt.Errorf("remote: the node ended it: %s", e.Error)
	}
	return fmt.Errorf("%w: a second hello", ErrWire)
}

func (s *Stream) takeState(f *received) error {
	var now state
	if err := json.Unmarshal(f.payload, &now); err != nil {
		return fmt.Errorf("%w: state: %w", ErrWire, err)
	}
	s.clock.frame(now.Now, f.came)
	if now.Times == nil {
		now.Times, now.Devices = s.last.Times, s.last.Devices
	}
	s.last = now
	return nil
}

// Counts are what went wrong with the node's events, as it last said.
func (s *Stream) Counts() probe.Counts { return s.last.Counts }

// Histograms are the node's, and those of all devices of its machine, as it last said; empty
// unless they were asked for.
func (s *Stream) Histograms() (times timesTable, devices []probe.DeviceTimes) {
	if s.last.Times != nil {
		times = *s.last.Times
	}
	return times, s.last.Devices
}

// closeTime bounds how long Close waits for its reader.
const closeTime = time.Second

// Close ends the trace; the node takes its probes away.
func (s *Stream) Close() {
	s.cancel()
	if s.body != nil {
		s.body.Close()
	}
	late := time.After(closeTime)
	for ended := false; !ended; {
		select {
		case <-s.frames:
		case <-s.done:
			ended = true
		case <-late:
			ended = true
		}
	}
	s.client.CloseIdleConnections()
}
