package cli

import (
	"context"
	"runtime"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/config"
	"github.com/ashlar-storage/ashlar/cmd/ashlar/view"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// lookup is what a listing verb does: one question, one document.
type lookup func(ctx context.Context, c *admin.Clients, args []string) (view.Tabler, error)

// listing makes a verb that prints a document.
func (a *app) listing(use, short string, args cobra.PositionalArgs, f lookup) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.ask(cmd.Context(), func(ctx context.Context, c *admin.Clients) error {
				doc, err := f(ctx, c, args)
				if err != nil {
					return err
				}
				return a.print(doc)
			})
		}}
	a.findFlags(cmd)
	a.outputFlag(cmd)
	return cmd
}

func (a *app) clusterCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "cluster", Short: "The cluster as a whole"}
	cmd.AddCommand(a.listing("status", "Health, space and processes", exactArgs(),
		func(ctx context.Context, c *admin.Clients, _ []string) (view.Tabler, error) {
			r, err := c.Admin.ClusterStatus(ctx, &ashlar.ClusterStatusRequest{})
			return view.FromCluster(r), err
		}))
	return cmd
}

func (a *app) copysetCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "copyset", Short: "Raft groups and where their replicas are"}
	cmd.AddCommand(
		a.listing("list", "Every copyset", exactArgs(),
			func(ctx context.Context, c *admin.Clients, _ []string) (view.Tabler, error) {
				r, err := c.Admin.ListCopysets(ctx, &ashlar.ListCopysetsRequest{})
				if err != nil {
					return nil, err
				}
				names, err := nodeNames(ctx, c)
				return view.Copysets(view.FromCopysets(r.GetCopysets(), names)), err
			}),
		a.listing("show ID", "One copyset, replica by replica", exactArgs("ID"),
			func(ctx context.Context, c *admin.Clients, args []string) (view.Tabler, error) {
				id, err := strconv.ParseUint(args[0], 10, 64)
				if err != nil {
					return nil, usage("copyset id %.40q: want a number of `copyset list`",
						args[0])
				}
				r, err := c.Admin.GetCopyset(ctx, &ashlar.GetCopysetRequest{CopysetId: id})
				if err != nil {
					return nil, err
				}
				names, err := nodeNames(ctx, c)
				return view.FromCopyset(r.GetStatus(), names), err
			}))
	return cmd
}

func nodeNames(ctx context.Context, c *admin.Clients) (view.Names, error) {
	r, err := c.Admin.ListNodes(ctx, &ashlar.ListNodesRequest{})
	return view.NamesOf(r.GetNodes()), err
}

func (a *app) nodeListCommand() *cobra.Command {
	return a.listing("list", "Every node with its stores", exactArgs(),
		func(ctx context.Context, c *admin.Clients, _ []string) (view.Tabler, error) {
			r, err := c.Admin.ListNodes(ctx, &ashlar.ListNodesRequest{})
			return view.Nodes(view.FromNodes(r.GetNodes())), err
		})
}

func (a *app) volumeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "volume", Short: "Block devices that clients attach"}
	cmd.AddCommand(
		a.volumeCreateCommand(),
		a.volumeListCommand(),
		a.listing("show NAME", "One volume and its mapping", exactArgs("NAME"),
			func(ctx context.Context, c *admin.Clients, args []string) (view.Tabler, error) {
				r, err := c.Admin.GetVolume(ctx, &ashlar.GetVolumeRequest{Name: args[0]})
				return view.FromVolumeDetail(r), err
			}),
		a.volumeRenameCommand(),
		a.volumeResizeCommand(),
		a.volumeAttachmentsCommand(),
		a.volumeDetachCommand(),
		a.volumeDeleteCommand(),
		a.volumeRestoreCommand(),
		a.volumePurgeCommand())
	return cmd
}

func (a *app) volumeCreateCommand() *cobra.Command {
	var size config.Size
	cmd := a.listing("create NAME --size SIZE", "Make a volume; it reads as zeroes",
		exactArgs("NAME"),
		func(ctx context.Context, c *admin.Clients, args []string) (view.Tabler, error) {
			if size == 0 {
				return nil, usage("volume create: --size is missing or zero: write it as 4GiB")
			}
			r, err := c.Admin.CreateVolume(ctx, &ashlar.CreateVolumeRequest{Name: args[0],
				SizeBytes: uint64(size)})
			return view.FromVolume(r.GetVolume()), err
		})
	cmd.Flags().Var(&size, "size", "size, such as 512MiB or 4GiB")
	return cmd
}

func (a *app) versionCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "version", Short: "Which version this is", Args: exactArgs(),
		RunE: func(*cobra.Command, []string) error {
			return a.print(view.Version{Version: a.version, Go: runtime.Version(),
				Platform: runtime.GOOS + "/" + runtime.GOARCH})
		}}
	a.outputFlag(cmd)
	return cmd
}
