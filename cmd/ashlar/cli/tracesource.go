package cli

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"github.com/ashlar-storage/ashlar/ebpf/mark"
	"github.com/ashlar-storage/ashlar/ebpf/probe"
	"github.com/ashlar-storage/ashlar/ebpf/remote"
	"github.com/ashlar-storage/ashlar/ebpf/trace"
)

const (
	envTokenFile = "ASHLAR_TOKEN_FILE"
	// farAtOnce is how many nodes are asked at a time, farTime how long one may take to begin.
	farAtOnce = 16
	farTime   = 20 * time.Second
)

// farFlags say how nodes are traced through their admin listeners.
type farFlags struct {
	remote, insecure  bool
	tokenFile, caFile string
}

func (f *farFlags) add(flags *pflag.FlagSet) {
	flags.BoolVar(&f.remote, "remote", false,
		"trace nodes on this machine through their admin listeners too")
	flags.StringVar(&f.tokenFile, "token-file", env(envTokenFile),
		"file with a token of the role tracer, for nodes elsewhere (environment: "+
			envTokenFile+")")
	flags.StringVar(&f.caFile, "ca", "", "PEM file with what their certificates lead to")
	flags.BoolVar(&f.insecure, "insecure", false, "send the token without TLS too")
}

// options reads the files.
func (f *farFlags) options(cfg probe.Config) (remote.Options, error) {
	o := remote.Options{Insecure: f.insecure, Probes: cfg}
	text, err := os.ReadFile(f.tokenFile)
	if err != nil {
		return o, fmt.Errorf("trace: --token-file: %w", err)
	}
	o.Token = strings.TrimSpace(string(text))
	if f.caFile == "" {
		return o, nil
	}
	if text, err = os.ReadFile(f.caFile); err != nil {
		return o, fmt.Errorf("trace: --ca: %w", err)
	}
	o.Roots = x509.NewCertPool()
	if !o.Roots.AppendCertsFromPEM(text) {
		return o, usage("trace: --ca %s: there is no certificate in it", f.caFile)
	}
	return o, nil
}

// farNode is a node that traces itself.
type farNode struct {
	target trace.Target
	url    string
	stream *remote.Stream // nil: not begun, or it has ended
	counts probe.Counts
}

// traceSources is where events come from. Targets are numbered as they are in targets: those whose
// processes are here, then those elsewhere.
type traceSources struct {
	warn  func(format string, args ...any)
	here  []trace.Target
	pids  []int
	local *probe.Probes // nil: no process is here
	far   []*farNode
}

func (s *traceSources) addHere(t trace.Target, pid int) {
	if len(s.here) == probe.MaxTargets {
		s.warn("not traced: %s: %d processes are the most on one machine", t.Name,
			probe.MaxTargets)
		return
	}
	s.here, s.pids = append(s.here, t), append(s.pids, pid)
}

func (s *traceSources) addFar(name, url string) {
	s.far = append(s.far, &farNode{target: trace.Target{Name: name}, url: url})
}

func (s *traceSources) none() bool { return len(s.here)+len(s.far) == 0 }

// open attaches probes here and begins traces elsewhere. A node elsewhere that cannot be traced is
// done without, as long as there are others.
func (s *traceSources) open(ctx context.Context, cfg probe.Config, flags *farFlags) error {
	err := s.openFar(ctx, cfg, flags)
	if err != nil {
		return err
	}
	if len(s.pids) == 0 {
		return nil
	}
	cfg.Processes = s.pids
	if s.local, err = probe.Attach(cfg); err != nil {
		return err
	}
	s.missing("", s.local.Missing())
	return nil
}

func (s *traceSources) missing(where string, errs []error) {
	for _, why := range errs {
		s.warn("%sgoes on without: %v", where, why)
	}
}

func (s *traceSources) openFar(ctx context.Context, cfg probe.Config, flags *farFlags) error {
	if len(s.far) == 0 {
		return nil
	}
	o, err := flags.options(cfg)
	if err != nil {
		return err
	}
	errs := s.dialFar(ctx, o)
	var traced []*farNode
	for i, f := range s.far {
		if errs[i] == nil {
			f.target.Device = f.stream.Device()
			s.missing(f.target.Name+" ", f.stream.Missing())
			traced = append(traced, f)
		}
	}
	if len(traced)+len(s.here) == 0 {
		return fmt.Errorf("trace: %s: %w", s.far[0].target.Name, errs[0])
	}
	for i, f := range s.far {
		if errs[i] != nil {
			s.warn("not traced: %s: %v", f.target.Name, errs[i])
		}
	}
	s.far = traced
	return nil
}

// dialFar asks the nodes elsewhere, and gives the error of each.
func (s *traceSources) dialFar(ctx context.Context, o remote.Options) []error {
	errs := make([]error, len(s.far))
	var all errgroup.Group
	all.SetLimit(farAtOnce)
	for i, f := range s.far {
		all.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, farTime)
			defer cancel()
			f.stream, errs[i] = remote.Dial(ctx, f.url, o)
			return nil
		})
	}
	_ = all.Wait() // errors are in errs
	return errs
}

func (s *traceSources) targets() []trace.Target {
	all := append([]trace.Target(nil), s.here...)
	for _, f := range s.far {
		all = append(all, f.target)
	}
	return all
}

// poll gives a sink what has come. A node elsewhere whose trace ends is told of, and the others go
// on; when there is none any more that is an error.
func (s *traceSources) poll(to probe.Sink) error {
	if s.local != nil {
		if err := s.local.Poll(to); err != nil {
			return err
		}
	}
	left := len(s.here)
	var last error
	for i, f := range s.far {
		if f.stream == nil {
			continue
		}
		if last = f.stream.Poll(&renumber{to, len(s.here) + i}); last == nil {
			left++
			continue
		}
		s.warn("%s is not traced any more: %v", f.target.Name, last)
		f.end()
	}
	if left == 0 {
		return errors.Join(errors.New("trace: no node is left"), last)
	}
	return nil
}

func (f *farNode) end() {
	if f.stream != nil {
		f.counts = f.stream.Counts()
		f.stream.Close()
		f.stream = nil
	}
}

// counts are what went wrong with a target's events.
func (s *traceSources) counts(target int) (probe.Counts, error) {
	if target < len(s.here) {
		return s.local.Counts(target)
	}
	f := s.far[target-len(s.here)]
	if f.stream == nil {
		return f.counts, nil
	}
	return f.stream.Counts(), nil
}

// times is a histogram of a target.
func (s *traceSources) times(target int, kind probe.Times) (trace.Hist, error) {
	if target < len(s.here) {
		return s.local.Times(target, kind)
	}
	f := s.far[target-len(s.here)]
	if f.stream == nil {
		return trace.Hist{}, nil
	}
	times, _ := f.stream.Histograms()
	return times[kind], nil
}

// devices are the times of the devices here, and of each node elsewhere.
func (s *traceSources) devices() (all []probe.DeviceTimes, err error) {
	if s.local != nil {
		if all, err = s.local.Devices(); err != nil {
			return nil, err
		}
	}
	for _, f := range s.far {
		if f.stream == nil {
			continue
		}
		_, theirs := f.stream.Histograms()
		for _, d := range theirs {
			d.Device = d.Device + " of " + f.target.Name
			all = append(all, d)
		}
	}
	return all, nil
}

func (s *traceSources) close() {
	if s.local != nil {
		s.local.Close()
	}
	for _, f := range s.far {
		f.end()
	}
}

// renumber gives a sink the events of one target under another number.
type renumber struct {
	to     probe.Sink
	target int
}

func (r *renumber) Op(_ int, o *mark.Op, at int64)    { r.to.Op(r.target, o, at) }
func (r *renumber) Append(_ int, a *mark.Append)      { r.to.Append(r.target, a) }
func (r *renumber) Ack(_ int, a *mark.Ack)            { r.to.Ack(r.target, a) }
func (r *renumber) Delay(_ int, d trace.Delay)        { r.to.Delay(r.target, d) }
func (r *renumber) Bio(_ int, b trace.Bio)            { r.to.Bio(r.target, b) }
func (r *renumber) Resend(_ int, resend trace.Resend) { r.to.Resend(r.target, resend) }
func (r *renumber) Ring(_ int, op trace.RingOp)       { r.to.Ring(r.target, op) }
