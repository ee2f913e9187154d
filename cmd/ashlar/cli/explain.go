package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/view"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

func (a *app) explainCommand() *cobra.Command {
	cmd := a.listing("explain OBJECT ID", "Why a copyset, store, node or volume is as it is",
		exactArgs("copyset|store|node|volume", "ID"),
		func(ctx context.Context, c *admin.Clients, args []string) (view.Tabler, error) {
			r, err := c.Admin.Explain(ctx, &ashlar.ExplainRequest{Object: args[0], Id: args[1]})
			return view.FromExplanation(r), err
		})
	cmd.ValidArgsFunction = cobra.FixedCompletions([]string{"copyset", "store", "node", "volume"},
		cobra.ShellCompDirectiveNoFileComp)
	return cmd
}
