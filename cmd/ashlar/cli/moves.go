package cli

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/view"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

func (a *app) operatorCommand() *cobra.Command {
	kind := ""
	cancel := a.listing("cancel COPYSET", "End what moves in a copyset, or waits to",
		exactArgs("COPYSET"),
		func(ctx context.Context, c *admin.Clients, args []string) (view.Tabler, error) {
			id, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil {
				return nil, usage("copyset %.40q: want a number of `operator list`", args[0])
			}
			r, err := c.Admin.CancelOperator(ctx, &ashlar.CancelOperatorRequest{CopysetId: id,
				Kind: kind})
			return view.FromOperator(r.GetOperator()), err
		})
	cancel.Flags().StringVar(&kind, "kind", "", "which one, if the copyset has several")
	return noun("operator", "Replicas and leaders that move", a.listing("list",
		"What moves, how far it is, and what waits for what", exactArgs(),
		func(ctx context.Context, c *admin.Clients, _ []string) (view.Tabler, error) {
			r, err := c.Admin.ListOperators(ctx, &ashlar.ListOperatorsRequest{})
			return view.FromOperators(r), err
		}), cancel)
}

// drainStoreCommands are the verbs of `store` that empty a disk, or let it be filled again.
func (a *app) drainStoreCommands() []*cobra.Command {
	mark := func(use, short string, f func(context.Context, *admin.Clients, uint64) error,
	) *cobra.Command {
		return a.listing(use, short, exactArgs("ID"),
			func(ctx context.Context, c *admin.Clients, args []string) (view.Tabler, error) {
				id, err := storeID(args[0])
				if err != nil {
					return nil, err
				}
				if err := f(ctx, c, id); err != nil {
					return nil, err
				}
				return findStore(ctx, c, id)
			})
	}
	return []*cobra.Command{
		mark("drain ID", "Move everything off a disk, and put nothing new there",
			func(ctx context.Context, c *admin.Clients, id uint64) error {
				_, err := c.Admin.DrainStore(ctx, &ashlar.DrainStoreRequest{StoreId: id})
				return err
			}),
		mark("undrain ID", "Let a disk have replicas again",
			func(ctx context.Context, c *admin.Clients, id uint64) error {
				_, err := c.Admin.UndrainStore(ctx, &ashlar.UndrainStoreRequest{StoreId: id})
				return err
			}),
	}
}

func storeID(text string) (uint64, error) {
	id, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, usage("store id %.40q: want a number of `store list`", text)
	}
	return id, nil
}

func findStore(ctx context.Context, c *admin.Clients, id uint64) (view.Tabler, error) {
	r, err := c.Admin.ListNodes(ctx, &ashlar.ListNodesRequest{})
	if err != nil {
		return nil, err
	}
	for _, s := range view.FromStores(r.GetNodes()) {
		if s.ID == id {
			return s, nil
		}
	}
	return nil, fmt.Errorf("%w: store %d does not exist", admin.ErrNotFound, id)
}

// drainNodeCommands are the verbs of `node` that empty it, or let it be filled again.
func (a *app) drainNodeCommands() []*cobra.Command {
	return []*cobra.Command{
		a.listing("drain NAME", "Move everything off a node, and put nothing new there",
			exactArgs("NAME"),
			func(ctx context.Context, c *admin.Clients, args []string) (view.Tabler, error) {
				r, err := c.Admin.DrainNode(ctx, &ashlar.DrainNodeRequest{Name: args[0]})
				return view.FromStores([]*ashlar.Node{r.GetNode()}), err
			}),
		a.listing("undrain NAME", "Let a node have replicas again", exactArgs("NAME"),
			func(ctx context.Context, c *admin.Clients, args []string) (view.Tabler, error) {
				r, err := c.Admin.UndrainNode(ctx, &ashlar.UndrainNodeRequest{Name: args[0]})
				return view.FromStores([]*ashlar.Node{r.GetNode()}), err
			}),
	}
}
