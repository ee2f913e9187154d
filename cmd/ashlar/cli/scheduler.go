package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/view"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

func (a *app) schedulerCommand() *cobra.Command {
	note := ""
	set := func(paused bool) lookup {
		return func(ctx context.Context, c *admin.Clients, args []string) (view.Tabler, error) {
			r, err := c.Admin.SetScheduler(ctx, &ashlar.SetSchedulerRequest{Kind: args[0],
				Paused: paused, Note: note})
			return view.FromScheduler(r.GetScheduler()), err
		}
	}
	pause := a.listing("pause KIND", "Have a scheduler begin nothing more", exactArgs("KIND"),
		set(true))
	pause.Flags().StringVar(&note, "note", "", "why, for those who wonder")
	return noun("scheduler", "The rules by which the cluster changes itself",
		a.listing("list", "What they do, their limits, and which are paused", exactArgs(),
			func(ctx context.Context, c *admin.Clients, _ []string) (view.Tabler, error) {
				r, err := c.Admin.ListSchedulers(ctx, &ashlar.ListSchedulersRequest{})
				return view.FromSchedulers(r.GetSchedulers()), err
			}),
		pause, a.listing("resume KIND", "Let a scheduler go on", exactArgs("KIND"), set(false)))
}
