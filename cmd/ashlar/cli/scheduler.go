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
		pause, a.listing("resume KIND", "Let a scheduler go on", exactArgs("KIND"), set(false)),
		a.limitsCommand(), a.setLimitCommand(), a.resetLimitCommand())
}

func (a *app) limitsCommand() *cobra.Command {
	return a.listing("limits", "How much they may do at a time, with defaults and bounds",
		exactArgs(),
		func(ctx context.Context, c *admin.Clients, _ []string) (view.Tabler, error) {
			r, err := c.Admin.ListLimits(ctx, &ashlar.ListLimitsRequest{})
			return view.FromLimits(r.GetLimits()), err
		})
}

func (a *app) setLimitCommand() *cobra.Command {
	note := ""
	cmd := a.listing("set LIMIT VALUE", "Change a limit at once", exactArgs("LIMIT", "VALUE"),
		func(ctx context.Context, c *admin.Clients, args []string) (view.Tabler, error) {
			if args[1] == "" {
				return nil, usage("limit %.40q: the value is empty; `reset` takes the default back",
					args[0])
			}
			r, err := c.Admin.SetLimit(ctx, &ashlar.SetLimitRequest{Name: args[0], Value: args[1],
				Note: note})
			return view.FromLimit(r.GetLimit()), err
		})
	cmd.Flags().StringVar(&note, "note", "", "why, for those who wonder")
	return cmd
}

func (a *app) resetLimitCommand() *cobra.Command {
	return a.listing("reset LIMIT", "Take the default of a limit back", exactArgs("LIMIT"),
		func(ctx context.Context, c *admin.Clients, args []string) (view.Tabler, error) {
			r, err := c.Admin.SetLimit(ctx, &ashlar.SetLimitRequest{Name: args[0]})
			return view.FromLimit(r.GetLimit()), err
		})
}
