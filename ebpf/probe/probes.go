package probe

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/ashlar-storage/ashlar/ebpf/trace"
)

// MaxTargets is how many processes one Probes can look at.
const MaxTargets = 16

// Config says what is looked at.
type Config struct {
	Processes []int     // at most MaxTargets; a target's number is its place here
	Features  []Feature // none: All
	Optional  []Feature // further ones, done without where they cannot be attached
	// MinDelay is from which length on a wait for a processor is told of on its own; MinBio a
	// device's or a ring's operation. Shorter ones are counted only. 0: every one is told.
	MinDelay, MinBio time.Duration
	// Untimed leaves the histograms of Times and Devices empty, which costs less.
	Untimed bool
}

// Probes are attached until Close. Its methods belong to one goroutine.
type Probes struct {
	maps    map[string]*ebpf.Map
	parts   []*ebpf.Collection
	links   []link.Link
	reader  *ringbuf.Reader
	record  ringbuf.Record
	decoder Decoder
	sockets sockets
	missing []error
}

// Missing says which optional features were not attached, and why.
func (p *Probes) Missing() []error { return p.missing }

// Attach loads and attaches features. All that are not optional, or none: an error of class
// ErrRefused says which one cannot be and why.
func Attach(cfg Config) (*Probes, error) {
	if n := len(cfg.Processes); n == 0 || n > MaxTargets {
		return nil, fmt.Errorf("probe: %d processes: want 1 to %d", n, MaxTargets)
	}
	if len(cfg.Features) == 0 {
		cfg.Features = All()
	}
	// Kernels before 5.11 count programs and maps as locked memory. Where that may not be raised
	// the loader's error says so.
	_ = rlimit.RemoveMemlock()
	p := &Probes{maps: map[string]*ebpf.Map{}, sockets: sockets{processes: cfg.Processes}}
	if err := p.attach(cfg); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *Probes) attach(cfg Config) error {
	s := thisSystem()
	features := slices.Concat(cfg.Features, cfg.Optional)
	// Marks come last: what is told of a request should have everything around it.
	slices.SortStableFunc(features, func(a, b Feature) int { return last(a) - last(b) })
	spec, err := loadProbe()
	if err != nil {
		return fmt.Errorf("probe: the object in this program: %w", err)
	}
	if err := p.open(spec, cfg); err != nil {
		return s.explain(features[0], err)
	}
	for _, f := range features {
		switch err := p.try(f, s, spec, cfg.Processes); {
		case err == nil:
		case slices.Contains(cfg.Features, f) || !errors.Is(err, ErrRefused):
			return err
		default:
			p.missing = append(p.missing, err)
		}
	}
	return nil
}

// try attaches a feature, if its claim holds.
func (p *Probes) try(f Feature, s system, spec *ebpf.CollectionSpec, processes []int) error {
	c := claimOf(f)
	if c == nil {
		return fmt.Errorf("probe: no feature %q", f)
	}
	if r := s.unmet(c); r != nil {
		return r
	}
	if err := p.feature(c, spec, processes); err != nil {
		return s.explain(f, err)
	}
	return nil
}

func last(f Feature) int {
	if f == Marks {
		return 1
	}
	return 0
}

// open makes the maps, which all features share, and names the processes to them.
func (p *Probes) open(spec *ebpf.CollectionSpec, cfg Config) error {
	set := map[string]uint64{"min_delay": uint64(cfg.MinDelay), "min_bio": uint64(cfg.MinBio),
		"untimed": 0}
	if cfg.Untimed {
		set["untimed"] = 1
	}
	for name, value := range set {
		if err := spec.Variables[name].Set(value); err != nil {
			return err
		}
	}
	for name, m := range spec.Maps {
		if strings.HasPrefix(name, ".") {
			continue // a feature's constants, which are its own
		}
		made, err := ebpf.NewMap(m)
		if err != nil {
			return err
		}
		p.maps[name] = made
	}
	for i, pid := range cfg.Processes {
		if err := p.maps["targets"].Put(uint32(pid), uint32(i)); err != nil {
			return err
		}
	}
	var err error
	p.reader, err = ringbuf.NewReader(p.maps["events"])
	return err
}

func (p *Probes) feature(c *Claim, spec *ebpf.CollectionSpec, processes []int) error {
	part, err := ebpf.NewCollectionWithOptions(c.only(spec),
		ebpf.CollectionOptions{MapReplacements: p.maps})
	if err != nil {
		return err
	}
	p.parts = append(p.parts, part)
	if c.Feature == Marks {
		return p.markers(c, part, processes)
	}
	for _, name := range c.programs {
		l, err := link.AttachTracing(link.TracingOptions{Program: part.Programs[name]})
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		p.links = append(p.links, l)
	}
	return nil
}

func (p *Probes) markers(c *Claim, part *ebpf.Collection, processes []int) error {
	for i, pid := range processes {
		exe, err := openProgram(pid)
		if err != nil {
			return err
		}
		for _, name := range c.programs {
			l, err := exe.attach(pid, i, name, part.Programs[name])
			if err != nil {
				return fmt.Errorf("process %d: %w", pid, err)
			}
			p.links = append(p.links, l)
		}
	}
	return nil
}

// Poll hands the events that wait to a sink and returns when there are no more.
func (p *Probes) Poll(to Sink) error {
	return p.Records(func(raw []byte) { p.decoder.Decode(raw, to) })
}

// Records gives the events that wait as the kernel has them, for a Decoder elsewhere. What each is
// given is valid during the call.
func (p *Probes) Records(each func(raw []byte)) error {
	p.reader.SetDeadline(time.Unix(0, 1))
	for {
		err := p.reader.ReadInto(&p.record)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("probe: events: %w", err)
		}
		if p.sockets.settle(p.record.RawSample) {
			each(p.record.RawSample)
		}
	}
}

// Counts are what went wrong with a process's events.
type Counts struct {
	Lost    uint64 // events that found the ring full, or could not be read
	Foreign uint64 // records of a version that this tracer does not know
}

const countersOf = 2

// Counts sums a target's counters up.
func (p *Probes) Counts(target int) (Counts, error) {
	var got [countersOf]uint64
	for i := range got {
		var each []uint64
		if err := p.maps["counters"].Lookup(uint32(target*countersOf+i), &each); err != nil {
			return Counts{}, fmt.Errorf("probe: counters: %w", err)
		}
		for _, n := range each {
			got[i] += n
		}
	}
	return Counts{got[0], got[1]}, nil
}

// Times are the kinds of times that the kernel counts for a process.
type Times int

// The kinds.
const (
	TimesRunQueue Times = iota // awake, without a processor
	TimesReceive               // data in a socket's receive queue
	TimesRing                  // operations on an io_uring
	TimesRead                  // bios
	TimesWrite
	TimesFlush
	TimesOf // how many there are
)

// Times is the histogram of one kind of a target.
func (p *Probes) Times(target int, kind Times) (trace.Hist, error) {
	var each []probeHist
	if err := p.maps["times"].Lookup(uint32(target*int(TimesOf)+int(kind)), &each); err != nil {
		return trace.Hist{}, fmt.Errorf("probe: times: %w", err)
	}
	var sum trace.Hist
	for i := range each {
		h := histOf(&each[i])
		sum.Merge(&h)
	}
	return sum, nil
}

func histOf(h *probeHist) trace.Hist { return trace.Hist{N: h.N, Sum: h.Sum, Buckets: h.Buckets} }

// DeviceTimes are a device's times of one class.
type DeviceTimes struct {
	Device string
	Class  trace.Class
	trace.Hist
}

// Devices are the times of all devices' requests, whoever made them.
func (p *Probes) Devices() ([]DeviceTimes, error) {
	var all []DeviceTimes
	var key probeDeviceClass
	var h probeHist
	each := p.maps["devices"].Iterate()
	for each.Next(&key, &h) {
		name := deviceName(key.Device>>minorBits, key.Device&(1<<minorBits-1))
		all = append(all, DeviceTimes{name, trace.Class(key.Class), histOf(&h)})
	}
	if err := each.Err(); err != nil {
		return nil, fmt.Errorf("probe: devices: %w", err)
	}
	return all, nil
}

// minorBits divides the kernel's number of a device.
const minorBits = 20

// Close takes the probes away.
func (p *Probes) Close() {
	for _, l := range p.links {
		_ = l.Close() // the kernel takes it away with the descriptor in any case
	}
	for _, c := range p.parts {
		c.Close()
	}
	if p.reader != nil {
		_ = p.reader.Close()
	}
	for _, m := range p.maps {
		_ = m.Close()
	}
}
