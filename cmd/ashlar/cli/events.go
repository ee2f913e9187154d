package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/view"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

const (
	eventsSince = 24 * time.Hour // of `events` without --since
	followEvery = time.Second
)

func (a *app) eventsCommand() *cobra.Command {
	var since time.Duration
	follow := false
	cmd := &cobra.Command{Use: "events", Short: "What happened: nodes, disks, volumes",
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if since < 0 {
				return usage("events: --since %v: want a duration as 90m, or 0 for all", since)
			}
			q := &ashlar.ListEventsRequest{}
			if since > 0 {
				q.SinceUnixNs = time.Now().Add(-since).UnixNano()
			}
			if follow {
				return a.followEvents(cmd.Context(), q)
			}
			return a.ask(cmd.Context(), func(ctx context.Context, c *admin.Clients) error {
				all, err := eventsAfter(ctx, c, q)
				if err != nil {
					return err
				}
				return a.print(view.FromEvents(all))
			})
		}}
	cmd.Flags().DurationVar(&since, "since", eventsSince, "how far back; 0: all that are kept")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on as they happen, until Ctrl-C")
	a.findFlags(cmd)
	a.outputFlag(cmd)
	return cmd
}

// eventsAfter asks for all events from the request's on, and moves the request behind them.
func eventsAfter(ctx context.Context, c *admin.Clients, q *ashlar.ListEventsRequest) (
	all []*ashlar.Event, err error,
) {
	for {
		r, err := c.Admin.ListEvents(ctx, q)
		if err != nil {
			return all, err
		}
		for _, e := range r.GetEvents() {
			all = append(all, e)
			q.AfterId = max(q.AfterId, e.GetEventId())
		}
		if !r.GetMore() {
			return all, nil
		}
	}
}

// followEvents prints each event as a document of its own. A control plane that is away is waited
// for.
func (a *app) followEvents(ctx context.Context, q *ashlar.ListEventsRequest) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, unix.SIGTERM)
	defer stop()
	endpoint, err := a.find()
	if err != nil {
		return err
	}
	clients, err := admin.Dial(endpoint)
	if err != nil {
		return err
	}
	defer clients.Close()
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	away := false
	for {
		all, err := eventsAfter(ctx, clients, q)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !errors.Is(err, admin.ErrUnavailable):
			return err
		case err != nil && !away:
			fmt.Fprintf(a.stderr, "ashlar: waiting: %s\n", oneLine(err))
		}
		away = err != nil
		for _, e := range view.FromEvents(all) {
			if err := view.WriteOne(a.stdout, a.output, e); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
