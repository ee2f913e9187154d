package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/view"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

func (a *app) dfCommand() *cobra.Command {
	return a.listing("df", "Space: provisioned, used and free, of pools, stores and volumes",
		exactArgs(), func(ctx context.Context, c *admin.Clients, _ []string) (view.Tabler, error) {
			r, err := c.Admin.GetSpace(ctx, &ashlar.GetSpaceRequest{})
			return view.FromSpace(r), err
		})
}
