package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// ExitRefused is the exit status by which a child says that starting it again would end the same
// way: its data directory or its settings cannot be used.
const ExitRefused = 7

// Options is what Run needs from its caller. The functions are called from several goroutines.
type Options struct {
	Config   Config
	Children []Child
	// Launch returns the command of a child, not started, and what to call once it is.
	Launch func(c Child) (cmd *exec.Cmd, started func(), err error)
	// Probe says whether the child with this pid serves; it returns soon after ctx ends.
	Probe func(ctx context.Context, c Child, pid int) bool
	// Volume makes what must be there before the gateways start.
	Volume func(ctx context.Context) error
	// Explain returns a child's own last words, or nothing.
	Explain func(c Child) string
	// OnReady is called once, when everything serves.
	OnReady func()
	// Stop and Revive ask for what the events of these names do.
	Stop, Revive <-chan struct{}
	Logger       *slog.Logger
}

// Errors of Run, tested with errors.Is.
var (
	// ErrFailed: the supervisor ended without being asked to.
	ErrFailed = errors.New("supervise: failed")
	// ErrRefused: it did because a child's data or settings cannot be used; it is an ErrFailed.
	ErrRefused = fmt.Errorf("%w", ErrFailed)
)

type shell struct {
	opt     Options
	m       *Machine
	log     *slog.Logger
	born    time.Time
	events  chan Event
	procs   map[string]*process
	ctx     context.Context
	wg      sync.WaitGroup
	ended   bool
	failure error
}

type process struct {
	child  Child
	cmd    *exec.Cmd
	cancel context.CancelFunc // ends the probing
}

// Run supervises until everything has stopped, as asked by Stop or because the start failed. It
// returns nil after an ordered stop, else an error that wraps ErrFailed and says why. No child is
// alive when it returns.
func Run(opt Options) error {
	ctx, cancel := context.WithCancel(context.Background())
	s := &shell{opt: opt, m: NewMachine(opt.Config, opt.Children), log: opt.Logger,
		born: time.Now(), events: make(chan Event, eventQueue), procs: map[string]*process{},
		ctx: ctx}
	if s.log == nil {
		s.log = slog.Default()
	}
	s.loop()
	cancel()
	s.drain()
	return s.failure
}

func (s *shell) loop() {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	s.feed(Event{Kind: Begin})
	for !s.ended {
		select {
		case ev := <-s.events:
			s.feed(ev)
		case <-s.opt.Stop:
			s.feed(Event{Kind: Stop})
		case <-s.opt.Revive:
			s.feed(Event{Kind: Revive})
		case <-tick.C:
			s.feed(Event{Kind: Tick})
		}
	}
}

// drain lets the goroutines that still have something to say end.
func (s *shell) drain() {
	quiet := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(quiet)
	}()
	for {
		select {
		case <-s.events:
		case <-quiet:
			return
		}
	}
}

// feed steps the machine and carries out what it asks for; the answer to a spawn is stepped before
// anything else.
func (s *shell) feed(ev Event) {
	queue := []Event{ev}
	for len(queue) > 0 {
		ev, queue = queue[0], queue[1:]
		ev.Now = time.Since(s.born)
		for _, e := range s.m.Step(ev, nil) {
			if answer, ok := s.do(e); ok {
				queue = append(queue, answer)
			}
		}
	}
}

func (s *shell) do(e Effect) (answer Event, ok bool) {
	switch e.Kind {
	case Spawn:
		return s.spawn(s.m.find(e.Child).Child), true
	case Terminate:
		s.signal(e.Child, syscall.SIGTERM)
	case Kill:
		s.signal(e.Child, syscall.SIGKILL)
	case EnsureVolume:
		s.wg.Add(1)
		go s.ensureVolume()
	case Ready:
		s.opt.OnReady()
	case Note:
		s.log.Info(e.Text, "process", e.Child)
	case Finished:
		s.ended, s.failure = true, failure(e)
	}
	return Event{}, false
}

func failure(e Effect) error {
	switch {
	case e.Text == "":
		return nil
	case e.Refused:
		return fmt.Errorf("%w: %s", ErrRefused, e.Text)
	}
	return fmt.Errorf("%w: %s", ErrFailed, e.Text)
}

func (s *shell) ensureVolume() {
	defer s.wg.Done()
	if err := s.opt.Volume(s.ctx); err != nil {
		s.events <- Event{Kind: VolumeFail, Why: err.Error()}
		return
	}
	s.events <- Event{Kind: VolumeReady}
}

func (s *shell) spawn(c Child) Event {
	cmd, started, err := s.opt.Launch(c)
	if err == nil {
		err = cmd.Start()
		started()
	}
	if err != nil {
		return Event{Kind: Refused, Child: c.ID, Why: err.Error()}
	}
	ctx, cancel := context.WithCancel(s.ctx)
	p := &process{child: c, cmd: cmd, cancel: cancel}
	s.procs[c.ID] = p
	s.log.Debug("started", "process", c.ID, "pid", cmd.Process.Pid)
	s.wg.Add(2)
	go s.reap(p)
	go s.probe(ctx, p)
	return Event{Kind: Started, Child: c.ID, PID: cmd.Process.Pid}
}

func (s *shell) signal(id string, sig syscall.Signal) {
	if p := s.procs[id]; p != nil {
		// The only error is a process that has gone, of which reap tells.
		_ = p.cmd.Process.Signal(sig)
	}
}

func (s *shell) reap(p *process) {
	defer s.wg.Done()
	err := p.cmd.Wait()
	p.cancel()
	ev := Event{Kind: Exited, Child: p.child.ID, PID: p.cmd.Process.Pid}
	ev.Why, ev.Permanent = obituary(err)
	// A process that was killed had no time for last words.
	if p.cmd.ProcessState.ExitCode() > 0 {
		if words := s.opt.Explain(p.child); words != "" {
			ev.Why += ": " + words
		}
	}
	s.events <- ev
}

// obituary puts the end of a process in words.
func obituary(err error) (why string, permanent bool) {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		if err != nil {
			return err.Error(), false
		}
		return "left by itself", false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return fmt.Sprintf("killed by signal %d (%v)", status.Signal(), status.Signal()), false
	}
	return fmt.Sprintf("exit status %d", exit.ExitCode()), exit.ExitCode() == ExitRefused
}

func (s *shell) probe(ctx context.Context, p *process) {
	defer s.wg.Done()
	pid := p.cmd.Process.Pid
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if s.opt.Probe(ctx, p.child, pid) {
			s.events <- Event{Kind: Serving, Child: p.child.ID, PID: pid}
			return
		}
	}
}
