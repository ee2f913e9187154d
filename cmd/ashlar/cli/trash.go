package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/view"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

func (a *app) volumeDeleteCommand() *cobra.Command {
	q := &ashlar.DeleteVolumeRequest{}
	cmd := a.listing("delete NAME", "Put a volume into the trash, or delete it --now",
		exactArgs("NAME"),
		func(ctx context.Context, c *admin.Clients, args []string) (view.Tabler, error) {
			q.Name = args[0]
			r, err := c.Admin.DeleteVolume(ctx, q)
			return view.FromDeleted(r.GetVolume()), err
		})
	cmd.Flags().BoolVar(&q.Now, "now", false, "delete its data at once")
	return cmd
}

func (a *app) volumeRestoreCommand() *cobra.Command {
	var as string
	cmd := a.listing("restore NAME|ID", "Take a volume out of the trash", exactArgs("NAME|ID"),
		func(ctx context.Context, c *admin.Clients, args []string) (view.Tabler, error) {
			id, err := findTrashed(ctx, c, args[0])
			if err != nil {
				return nil, err
			}
			r, err := c.Admin.RestoreVolume(ctx, &ashlar.RestoreVolumeRequest{VolumeId: id,
				NewName: as})
			return view.FromVolume(r.GetVolume()), err
		})
	cmd.Flags().StringVar(&as, "as", "", "another name than the one that it had")
	return cmd
}

func (a *app) volumePurgeCommand() *cobra.Command {
	return a.listing("purge NAME|ID", "Delete a volume of the trash at once", exactArgs("NAME|ID"),
		func(ctx context.Context, c *admin.Clients, args []string) (view.Tabler, error) {
			id, err := findTrashed(ctx, c, args[0])
			if err != nil {
				return nil, err
			}
			r, err := c.Admin.PurgeVolume(ctx, &ashlar.PurgeVolumeRequest{VolumeId: id})
			return view.FromDeleted(r.GetVolume()), err
		})
}

// findTrashed asks which volume of the trash a name or number stands for.
func findTrashed(ctx context.Context, c *admin.Clients, word string) (uint64, error) {
	all, err := admin.Trash(ctx, c.Admin)
	if err != nil {
		return 0, err
	}
	return pickTrashed(all, word)
}

// pickTrashed wants exactly one volume that had the name or has the number: a wrong one would be
// deleted for good.
func pickTrashed(all []*ashlar.Trashed, word string) (uint64, error) {
	var found []string
	picked := uint64(0)
	for _, t := range all {
		v := t.GetVolume()
		id := strconv.FormatUint(v.GetVolumeId(), 10)
		if v.GetState() == "trashed" && (v.GetName() == word || id == word) {
			picked = v.GetVolumeId()
			found = append(found, fmt.Sprintf("%s (%s)", id, v.GetName()))
		}
	}
	switch len(found) {
	case 0:
		return 0, admin.Errorf(admin.ErrNotFound, "the trash has no volume %.256q; `volume list "+
			"--trash` lists it", word)
	case 1:
		return picked, nil
	}
	return 0, usage("the trash has several volumes for %q: %s: give an id that is the name of none",
		word, strings.Join(found, ", "))
}
