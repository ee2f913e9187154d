package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/view"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// storeCommands are the verbs of `store` that ask a running cluster.
func (a *app) storeCommands() []*cobra.Command {
	return []*cobra.Command{
		a.listing("list", "Every disk, how full and how well it is", exactArgs(),
			func(ctx context.Context, c *admin.Clients, _ []string) (view.Tabler, error) {
				r, err := c.Admin.ListNodes(ctx, &ashlar.ListNodesRequest{})
				return view.FromStores(r.GetNodes()), err
			}),
		a.listing("show ID", "One disk, and what its scrubber has found", exactArgs("ID"),
			func(ctx context.Context, c *admin.Clients, args []string) (view.Tabler, error) {
				id, err := storeID(args[0])
				if err != nil {
					return nil, err
				}
				return findStore(ctx, c, id)
			}),
	}
}
