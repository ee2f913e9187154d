package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/view"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

func (a *app) scrubCommand() *cobra.Command {
	zone, note := "", ""
	set := a.listing("set WINDOWS", "Scrub at some times only, such as "+
		"'mon-fri 22:00-06:00; sat,sun 00:00-24:00'", exactArgs("WINDOWS"),
		func(ctx context.Context, c *admin.Clients, args []string) (view.Tabler, error) {
			if args[0] == "" {
				return nil, usage("scrub windows are empty; `scrub reset` lets it run always")
			}
			r, err := c.Admin.SetScrubWindows(ctx, &ashlar.SetScrubWindowsRequest{
				Windows: args[0], Zone: zone, Note: note})
			return view.FromScrubTime(r.GetWindows()), err
		})
	set.Flags().StringVar(&zone, "zone", "UTC", "of the times: UTC, local (of each node), +02:00")
	set.Flags().StringVar(&note, "note", "", "why, for those who wonder")
	return noun("scrub", "When stores are read through for rot",
		a.listing("show", "At which times, and whether it waits", exactArgs(),
			func(ctx context.Context, c *admin.Clients, _ []string) (view.Tabler, error) {
				r, err := c.Admin.GetScrubWindows(ctx, &ashlar.GetScrubWindowsRequest{})
				return view.FromScrubTime(r.GetWindows()), err
			}), set,
		a.listing("reset", "Scrub at any time", exactArgs(),
			func(ctx context.Context, c *admin.Clients, _ []string) (view.Tabler, error) {
				r, err := c.Admin.SetScrubWindows(ctx, &ashlar.SetScrubWindowsRequest{})
				return view.FromScrubTime(r.GetWindows()), err
			}))
}
