package suite

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ashlar-storage/ashlar/perf/echo"
	"github.com/ashlar-storage/ashlar/perf/engine"
	"github.com/ashlar-storage/ashlar/perf/job"
	"github.com/ashlar-storage/ashlar/perf/load"
	"github.com/ashlar-storage/ashlar/perf/meter"
	"github.com/ashlar-storage/ashlar/rpc/dial"
)

// Config is what a run needs of its surroundings.
type Config struct {
	// Find returns the control plane of the cluster that a job names, or is to use.
	Find func(j *job.Job) (string, error)
	// Ways are the transports to the nodes of a cluster.
	Ways dial.Config
	// Echo is a command that serves frames (echo.Spawn), for jobs of engine net without endpoint.
	Echo []string
	// Live, when set, is called twice a second while jobs run.
	Live func(Status)
	// Around, when set, is called when a wave has been opened, and the function that it returns
	// when the wave has ended: to read counters.
	Around func(members []*Done) func()
}

// Done is one clone of a job that ran.
type Done struct {
	Job    *job.Job
	Clone  int // from 0
	Group  int
	Wave   int
	Load   load.Job
	Result *load.Result
	Err    error
	Began  time.Time
	Took   time.Duration // with verification
	Usage  meter.Usage   // of the whole process meanwhile
	// Counters are those of the clients that the jobs share, as they are now.
	Counters func() meter.Stats
}

// Outcome is what a suite did.
type Outcome struct {
	Began time.Time
	Done  []*Done
}

// running is a suite under way.
type running struct {
	cfg    Config
	opener *engine.Opener
	echo   *echo.Process
	began  time.Time
	done   []*Done
}

// Run runs the jobs. With an error there may be an outcome too: what ran until then.
func Run(ctx context.Context, jobs []*job.Job, cfg Config) (*Outcome, error) {
	members, err := arrange(jobs)
	if err != nil {
		return nil, err
	}
	r := &running{cfg: cfg, opener: engine.NewOpener(), began: time.Now()}
	r.opener.Ways = cfg.Ways
	for first := 0; first < len(members) && err == nil; {
		last := first
		for last < len(members) && members[last].wave == members[first].wave {
			last++
		}
		err = r.wave(ctx, members[first:last])
		first = last
	}
	err = errors.Join(err, r.opener.Close())
	if r.echo != nil {
		r.echo.Close()
	}
	return &Outcome{Began: r.began, Done: r.done}, err
}

// wave runs members together.
func (r *running) wave(ctx context.Context, members []member) (err error) {
	var targets []engine.Target
	defer func() {
		for _, t := range targets {
			err = errors.Join(err, t.Close())
		}
	}()
	var done []*Done
	for i := range members {
		t, d, err := r.open(ctx, &members[i])
		if err != nil {
			return err
		}
		targets, done = append(targets, t), append(done, d)
	}
	after := func() {}
	if r.cfg.Around != nil {
		after = r.cfg.Around(done)
	}
	stop := r.watch(done)
	var all sync.WaitGroup
	for i, d := range done {
		all.Go(func() { d.run(ctx, targets[i]) })
	}
	all.Wait()
	stop()
	after()
	r.done = append(r.done, done...)
	var errs []error
	for _, d := range done {
		if d.Err != nil {
			errs = append(errs, fmt.Errorf("job %s: %w", d.Job.Name, d.Err))
		}
	}
	return errors.Join(errs...)
}

func (r *running) open(ctx context.Context, m *member) (engine.Target, *Done, error) {
	s := m.spec()
	var err error
	switch {
	case s.Kind == "ashlar":
		s.Endpoint, err = r.cfg.Find(m.job)
	case s.Kind == "net" && s.Endpoint == "":
		if r.echo == nil {
			r.echo, err = echo.Spawn(r.cfg.Echo...)
		}
		if err == nil {
			s.Endpoint = r.echo.Addr
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("job %s: %w", m.job.Name, err)
	}
	t, err := r.opener.Open(ctx, s)
	if err != nil {
		return nil, nil, fmt.Errorf("job %s: %w", m.job.Name, err)
	}
	l, err := m.fit(t.Size())
	if err != nil {
		return nil, nil, errors.Join(err, t.Close())
	}
	l.Progress = new(load.Progress)
	return t, &Done{Job: m.job, Clone: m.clone, Group: m.group, Wave: m.wave, Load: l,
		Counters: r.opener.Counters}, nil
}

func (d *Done) run(ctx context.Context, t engine.Target) {
	before := meter.Self()
	d.Began = time.Now()
	d.Result, d.Err = load.Run(ctx, t, d.Load)
	d.Took = time.Since(d.Began)
	d.Usage = meter.Self().Minus(before)
	if d.Result == nil {
		d.Result = &load.Result{}
	}
}
