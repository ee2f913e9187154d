package load

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// Main measures what the arguments describe (-help lists them), writes the table to out and its
// progress to log, and rewrites the table of the page that -page names.
func Main(args []string, out, log io.Writer) error {
	c, err := parse(args, log)
	if err != nil {
		return err
	}
	if c.serve != "" {
		return serve(c.serve, os.Stdin, out, log)
	}
	phases, err := measure(c, log)
	if err != nil {
		return err
	}
	text := table(phases)
	if _, err := io.WriteString(out, text); err != nil || c.page == "" {
		return err
	}
	return publish(c.page, text)
}

// bench is a run as it goes.
type bench struct {
	cfg    config
	log    io.Writer
	proc   *process
	fleet  *fleet
	probe  *probe
	phases []phase
}

func measure(c config, log io.Writer) (phases []phase, err error) {
	dir, err := os.MkdirTemp("", "control-load-")
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	defer os.RemoveAll(dir)
	began := time.Now()
	recs, id, err := write(c, dir)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(log, "%d copysets written in %v\n", len(recs), time.Since(began).Round(step))
	proc, err := begin(dir, log)
	if err != nil {
		return nil, err
	}
	defer func() {
		if e := proc.end(); err == nil && e != nil {
			err = fmt.Errorf("load: the control plane: %w", e)
		}
	}()
	b := &bench{cfg: c, log: log, proc: proc}
	if b.fleet, err = newFleet(c, id, proc.addr, recs); err != nil {
		return nil, err
	}
	defer b.fleet.close()
	if b.probe, err = newProbe(proc.addr); err != nil {
		return nil, err
	}
	defer b.probe.conn.Close()
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	all.Go(func() { b.fleet.run(ctx) })
	all.Go(func() { b.probe.run(ctx) })
	err = b.run(ctx)
	return b.phases, err
}

func (b *bench) run(ctx context.Context) error {
	c := b.cfg
	per := float64(step) / float64(time.Second) * c.changing / 100
	if err := b.phase("takeover", b.settled); err != nil {
		return err
	}
	if err := b.phase("rest", pause(c.phase)); err != nil {
		return err
	}
	b.fleet.change(max(1, int(per*float64(len(b.fleet.truth.groups)))))
	err := b.phase(fmt.Sprintf("%v %% of the copysets change in a second", c.changing),
		pause(c.phase))
	if err != nil {
		return err
	}
	died := time.Now()
	b.fleet.kill(uint64(c.nodes / 2))
	if err := b.phase("and a node dies", pause(2*c.phase)); err != nil {
		return err
	}
	if err := b.recovers(ctx, died); err != nil {
		return err
	}
	return b.fleet.trouble(0)
}

func pause(d time.Duration) func() error {
	return func() error {
		time.Sleep(d)
		return nil
	}
}

// settled waits until all nodes have told everything and all copysets are well.
func (b *bench) settled() error {
	var last string
	for end := time.Now().Add(settling); time.Now().Before(end); time.Sleep(interval) {
		s, err := b.probe.conn.Admin.ClusterStatus(context.Background(),
			&v1.ClusterStatusRequest{})
		if err == nil && s.CopysetsFull == s.Copysets {
			return nil
		}
		last = fmt.Sprintf("%v %v", s, err)
	}
	return fmt.Errorf("load: the cluster is not well %v after the takeover: %.500s", settling, last)
}

// recovers fails when the dead node's replicas are not being made anew.
func (b *bench) recovers(ctx context.Context, since time.Time) error {
	n, req := 0, &v1.ListEventsRequest{SinceUnixNs: since.UnixNano()}
	for more := true; more; {
		resp, err := b.probe.conn.Admin.ListEvents(ctx, req)
		if err != nil {
			return err
		}
		for _, e := range resp.Events {
			req.AfterId = e.EventId
			if e.Kind == "replacement-done" {
				n++
			}
		}
		more = resp.More && len(resp.Events) > 0
	}
	b.phases[len(b.phases)-1].recovered = n
	if n == 0 && 2*b.cfg.phase > lostAfter+2*fill {
		return fmt.Errorf("load: no replica of the dead node was made anew")
	}
	return nil
}

// phase measures what goes on while fn runs.
func (b *bench) phase(name string, fn func() error) error {
	p := phase{name: name}
	before, err := b.proc.spent()
	if err != nil {
		return err
	}
	if _, err := b.proc.hold(); err != nil {
		return err
	}
	b.probe.take()
	beats, began := b.fleet.beats.Load(), time.Now()
	if err := fn(); err != nil {
		return err
	}
	p.took = time.Since(began)
	p.beats, p.calls = b.fleet.beats.Load()-beats, b.probe.take()
	after, err := b.proc.spent()
	if err != nil {
		return err
	}
	p.spent, p.failed = after-before, b.fleet.failed.Load()
	if p.hold, err = b.proc.hold(); err != nil {
		return err
	}
	if p.peak, err = b.proc.peak(); err != nil {
		return err
	}
	fmt.Fprintf(b.log, "%s: %v, %.3f processors, lock held for %v, %d heartbeats, %d failed\n",
		name, p.took.Round(step), p.processors(), p.hold, p.beats, p.failed)
	b.phases = append(b.phases, p)
	return nil
}
