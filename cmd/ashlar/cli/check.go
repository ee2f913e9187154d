package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/view"
	"github.com/ashlar-storage/ashlar/perf/hot"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
	"github.com/ashlar-storage/ashlar/rpc/client"
)

const (
	checkTimeout = 30 * time.Second // of each operation of a checking client
	checkFreeze  = 3 * time.Second
	checkSuffer  = 4 * time.Second // a strike's consequences are looked at for as long
	checkWhole   = 2 * time.Minute // until all replicas are back after a strike
	checkPoll    = 100 * time.Millisecond
	judgeTime    = 2 * time.Minute // for each block
)

// checkRun is one run of `ashlar check`.
type checkRun struct {
	app     *app
	admin   *admin.Clients
	volume  string
	span    time.Duration
	every   time.Duration
	strikes []string
	began   time.Time
	result  view.Check
}

func (a *app) checkCommand() *cobra.Command {
	r := &checkRun{app: a}
	cmd := &cobra.Command{Use: "check", Args: exactArgs(),
		Short: "Prove a cluster: clients of the same blocks, judged; nodes struck on request",
		Long: "Six clients write and read the same four blocks of a volume at the same time, " +
			"and what they saw is judged: whether each block was one register that never went " +
			"back, was never torn, and took each write once.\n\n" +
			"With --strike nodes are struck meanwhile, one at a time, once all replicas are " +
			"back: kill (SIGKILL) and freeze (SIGSTOP for 3 s). Only nodes that `ashlar up " +
			"--data` runs on this machine can be struck. It is for test clusters.\n\n" +
			"Ends with status 8 when the cluster was wrong.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			// A node that is frozen must not stay so.
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, unix.SIGTERM)
			defer stop()
			return r.run(ctx)
		}}
	a.findFlags(cmd)
	a.outputFlag(cmd)
	f := cmd.Flags()
	f.StringVar(&r.volume, "volume", "", "an existing volume, of which a few blocks are "+
		"overwritten; default: one of its own, deleted afterwards")
	f.DurationVar(&r.span, "for", 30*time.Second, "how long, at least: each kind of "+
		"strike has its turn")
	f.DurationVar(&r.every, "every", 15*time.Second, "time between two strikes, at least")
	f.StringSliceVar(&r.strikes, "strike", nil, "kill, freeze, or both: what is done to nodes")
	return cmd
}

func (r *checkRun) valid() error {
	for _, s := range r.strikes {
		if s != "kill" && s != "freeze" {
			return usage("check: --strike %.20q: use kill, freeze, or kill,freeze", s)
		}
	}
	switch {
	case len(r.strikes) > 0 && r.app.data == "":
		return usage("check: --strike needs --data DIR: only nodes that `ashlar up` runs on this " +
			"machine can be struck")
	case r.span <= 0 || r.every <= 0:
		return usage("check: --for and --every must be above zero: write them as 30s")
	}
	return nil
}

func (r *checkRun) run(ctx context.Context) (err error) {
	if err := r.valid(); err != nil {
		return err
	}
	endpoint, err := r.app.find()
	if err != nil {
		return err
	}
	if r.admin, err = admin.Dial(endpoint); err != nil {
		return err
	}
	defer r.admin.Close()
	if r.volume == "" {
		if err := r.ownVolume(ctx); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.deleteVolume()) }()
	}
	return r.clients(ctx, endpoint)
}

func (r *checkRun) ownVolume(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	r.volume = fmt.Sprintf("ashlar-check-%d", os.Getpid())
	_, err := r.admin.Admin.CreateVolume(ctx, &ashlar.CreateVolumeRequest{Name: r.volume,
		SizeBytes: uint64(hot.Config{}.Bytes())})
	return err
}

// deleteVolume is done whatever became of the check.
func (r *checkRun) deleteVolume() error {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	_, err := r.admin.Admin.DeleteVolume(ctx, &ashlar.DeleteVolumeRequest{Name: r.volume,
		Now: true})
	if err != nil {
		return fmt.Errorf("check: delete volume %s, which it made: %w", r.volume, err)
	}
	return nil
}

// clients attaches the volume twice, for writing and for reading, and checks what is seen.
func (r *checkRun) clients(ctx context.Context, endpoint string) error {
	cfg := client.Config{Endpoint: endpoint, Name: "ashlar check", Timeout: checkTimeout,
		Logger: slog.New(slog.DiscardHandler)}
	writer, reader, done, err := hot.Attach(ctx, cfg, r.volume)
	if err != nil {
		return err
	}
	defer done()
	if have, need := writer.Size(), (hot.Config{}).Bytes(); have < need {
		return usage("check: volume %s has %d bytes, the clients use %d", r.volume, have, need)
	}
	clients, err := hot.Start(hot.Config{}, writer, reader)
	if err != nil {
		return err
	}
	r.began = time.Now()
	struck := r.disturb(ctx, clients)
	r.result.Seconds = time.Since(r.began).Seconds()
	ops, err := clients.Judge(judgeTime)
	r.result.Volume, r.result.Operations = r.volume, ops
	r.result.Verdict = "every block was one linearizable register"
	if err != nil {
		r.result.Verdict = oneLine(err)
	}
	return errors.Join(r.app.print(r.result), err, struck)
}

// disturb lets the clients work, and strikes a node now and then, until the time is over and each
// kind of strike has had its turn, or a client has ended.
func (r *checkRun) disturb(ctx context.Context, clients *hot.Clients) error {
	end := r.began.Add(r.span)
	next := r.began.Add(r.every)
	if len(r.strikes) == 0 {
		next = end
	}
	for n := 0; ; n++ {
		pause := time.Until(next)
		if n >= len(r.strikes) {
			pause = min(pause, time.Until(end))
		}
		r.wait(ctx, clients, pause)
		if n == 0 {
			r.result.QuietMS = view.Milliseconds(clients.Longest())
		}
		over := n >= len(r.strikes) && !time.Now().Before(end)
		if over || ctx.Err() != nil || clients.Err() != nil {
			return ctx.Err()
		}
		if err := r.strike(ctx, clients, n); err != nil {
			return err
		}
		next = time.Now().Add(r.every)
	}
}

// wait sleeps, or less when the run is over.
func (r *checkRun) wait(ctx context.Context, clients *hot.Clients, d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end) && clients.Err() == nil; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(min(checkPoll, time.Until(end))):
		}
	}
}

// strike does the next thing to the next node, and waits until all replicas are back.
func (r *checkRun) strike(ctx context.Context, clients *hot.Clients, n int) error {
	p, err := r.victim(ctx, n)
	if err != nil {
		return err
	}
	s := view.Strike{AtSeconds: time.Since(r.began).Seconds(), Node: p.GetName(), PID: p.GetPid(),
		Kind: r.strikes[n%len(r.strikes)]}
	clients.Longest()
	pid := int(p.GetPid())
	if s.Kind == "kill" {
		err = unix.Kill(pid, unix.SIGKILL)
	} else if err = unix.Kill(pid, unix.SIGSTOP); err == nil {
		r.wait(ctx, clients, checkFreeze)
		err = unix.Kill(pid, unix.SIGCONT)
	}
	if err != nil {
		return fmt.Errorf("check: %s node %s (pid %d): %w", s.Kind, s.Node, pid, err)
	}
	r.wait(ctx, clients, checkSuffer)
	s.LongestMS = view.Milliseconds(clients.Longest())
	r.result.Strikes = append(r.result.Strikes, s)
	return r.awaitWhole(ctx, clients)
}

// victim is the next node. Its process must be one of the cluster in the directory: a number alone
// could be that of anybody's.
func (r *checkRun) victim(ctx context.Context, n int) (*ashlar.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	list, err := r.admin.Admin.ListNodes(ctx, &ashlar.ListNodesRequest{})
	if err != nil {
		return nil, err
	}
	nodes := list.GetNodes()
	if len(nodes) == 0 {
		return nil, errors.New("check: the cluster has no nodes")
	}
	p := nodes[n%len(nodes)]
	if !isOf(int(p.GetPid()), r.app.data) {
		return nil, fmt.Errorf("check: process %d of node %s is not one of %s on this machine",
			p.GetPid(), p.GetName(), r.app.data)
	}
	return p, nil
}

// awaitWhole waits until every copyset has all its replicas again: a second blow before that may
// take more than a cluster can bear.
func (r *checkRun) awaitWhole(ctx context.Context, clients *hot.Clients) error {
	var last error
	for end := time.Now().Add(checkWhole); time.Now().Before(end); {
		if ctx.Err() != nil || clients.Err() != nil {
			return nil
		}
		call, cancel := context.WithTimeout(ctx, time.Second)
		st, err := r.admin.Admin.ClusterStatus(call, &ashlar.ClusterStatusRequest{})
		cancel()
		if last = err; err == nil && st.GetCopysetsFull() == st.GetCopysets() {
			return nil
		}
		r.wait(ctx, clients, checkPoll)
	}
	return errors.Join(fmt.Errorf("check: not all replicas are back after %v", checkWhole), last)
}
