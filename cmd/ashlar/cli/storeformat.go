package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/view"
	"github.com/ashlar-storage/ashlar/io/disk"
	"github.com/ashlar-storage/ashlar/rpc/admin"
)

// storeFormatCommand makes a block device one that a node can have as a store. A node never does
// that by itself: a mistaken path in its settings must not cost what lies there.
func (a *app) storeFormatCommand() *cobra.Command {
	force := false
	cmd := &cobra.Command{Use: "format DEVICE",
		Short: "Make an empty store of a block device, offline",
		Long: "Make an empty store of a block device, or of a large file in its place, for a " +
			"node's\nsettings to name. A directory needs no formatting.",
		Args: exactArgs("DEVICE"),
		RunE: func(_ *cobra.Command, args []string) error {
			capacity, files, err := disk.FormatDevice(args[0], force)
			switch {
			case errors.Is(err, disk.ErrExists): // an exit status of its own
				return fmt.Errorf("%w: %w", admin.ErrExists, err)
			case errors.Is(err, disk.ErrNotExist), errors.Is(err, disk.ErrInvalid):
				return usage("%.200s: no block device or file for a store: %v", args[0], err)
			case err != nil:
				return err
			}
			return a.print(view.FormattedStore{Path: args[0], CapacityBytes: uint64(capacity),
				Files: uint64(files)})
		}}
	cmd.Flags().BoolVar(&force, "force", false, "erase what the device carries, an earlier store "+
		"included")
	a.outputFlag(cmd)
	return cmd
}
