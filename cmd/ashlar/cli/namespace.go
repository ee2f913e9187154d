package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/config"
	"github.com/ashlar-storage/ashlar/cmd/ashlar/view"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// atMostOne demands the named argument, or none.
func atMostOne(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) <= 1 {
			return nil
		}
		return usage("%s: want [%s], got %d arguments; see `%[1]s --help`", cmd.CommandPath(), name,
			len(args))
	}
}

// directoryArg is the directory that a listing is asked for; none is the root.
func directoryArg(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return strings.Trim(args[0], "/")
}

func (a *app) dirCommand() *cobra.Command {
	return noun("dir", "Directories of volumes", a.dirCreateCommand(), a.dirListCommand(),
		a.dirRenameCommand(), a.dirRemoveCommand())
}

func (a *app) dirCreateCommand() *cobra.Command {
	return a.listing("create PATH", "Make a directory; the one it is in must exist",
		exactArgs("PATH"),
		func(ctx context.Context, c *admin.Clients, args []string) (view.Tabler, error) {
			r, err := c.Admin.CreateDirectory(ctx, &ashlar.CreateDirectoryRequest{Path: args[0]})
			return view.FromDirectory(r.GetDirectory()), err
		})
}

func (a *app) dirListCommand() *cobra.Command {
	q := &ashlar.ListDirectoriesRequest{}
	cmd := a.listing("list [DIR]", "The directories in one, or in the root", atMostOne("DIR"),
		func(ctx context.Context, c *admin.Clients, args []string) (view.Tabler, error) {
			q.Directory = directoryArg(args)
			all, err := admin.Directories(ctx, c.Admin, q)
			return view.FromDirectories(all), err
		})
	cmd.Flags().BoolVarP(&q.Recursive, "recursive", "r", false, "those below them too")
	return cmd
}

func (a *app) dirRenameCommand() *cobra.Command {
	return a.listing("rename PATH NEWPATH", "Move a directory with all that is in it",
		exactArgs("PATH", "NEWPATH"),
		func(ctx context.Context, c *admin.Clients, args []string) (view.Tabler, error) {
			r, err := c.Admin.RenameDirectory(ctx, &ashlar.RenameDirectoryRequest{Path: args[0],
				NewPath: args[1]})
			return view.FromDirectory(r.GetDirectory()), err
		})
}

func (a *app) dirRemoveCommand() *cobra.Command {
	return a.listing("remove PATH", "Remove an empty directory", exactArgs("PATH"),
		func(ctx context.Context, c *admin.Clients, args []string) (view.Tabler, error) {
			_, err := c.Admin.RemoveDirectory(ctx, &ashlar.RemoveDirectoryRequest{Path: args[0]})
			return view.Removed{Removed: args[0]}, err
		})
}

func (a *app) volumeListCommand() *cobra.Command {
	q := &ashlar.ListVolumesRequest{}
	trash := false
	cmd := a.listing("list [DIR]", "The volumes in a directory, or in the root", atMostOne("DIR"),
		func(ctx context.Context, c *admin.Clients, args []string) (view.Tabler, error) {
			if trash {
				if len(args) > 0 || q.Recursive {
					return nil, usage("volume list: the trash has no directories: leave DIR and " +
						"--recursive away with --trash")
				}
				all, err := admin.Trash(ctx, c.Admin)
				return view.FromTrash(all), err
			}
			q.Directory = directoryArg(args)
			all, err := admin.Volumes(ctx, c.Admin, q)
			return view.Volumes(view.FromVolumes(all)), err
		})
	cmd.Flags().BoolVarP(&q.Recursive, "recursive", "r", false,
		"those in directories below it too")
	cmd.Flags().BoolVar(&trash, "trash", false, "what was deleted and is not gone yet")
	return cmd
}

func (a *app) volumeRenameCommand() *cobra.Command {
	return a.listing("rename NAME NEWNAME", "Give a volume another name, in any directory",
		exactArgs("NAME", "NEWNAME"),
		func(ctx context.Context, c *admin.Clients, args []string) (view.Tabler, error) {
			r, err := c.Admin.RenameVolume(ctx, &ashlar.RenameVolumeRequest{Name: args[0],
				NewName: args[1]})
			return view.FromVolume(r.GetVolume()), err
		})
}

func (a *app) volumeResizeCommand() *cobra.Command {
	return a.listing("resize NAME SIZE", "Make a volume larger", exactArgs("NAME", "SIZE"),
		func(ctx context.Context, c *admin.Clients, args []string) (view.Tabler, error) {
			var size config.Size
			if err := size.Set(args[1]); err != nil {
				return nil, usage("volume resize: %v", err)
			}
			r, err := c.Admin.ResizeVolume(ctx, &ashlar.ResizeVolumeRequest{Name: args[0],
				SizeBytes: uint64(size)})
			return view.FromVolume(r.GetVolume()), err
		})
}
