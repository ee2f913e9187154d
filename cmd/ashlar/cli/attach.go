package cli

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/view"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
	"github.com/ashlar-storage/ashlar/rpc/client"
)

func (a *app) volumeAttachmentsCommand() *cobra.Command {
	return a.listing("attachments NAME", "Who has a volume attached", exactArgs("NAME"),
		func(ctx context.Context, c *admin.Clients, args []string) (view.Tabler, error) {
			r, err := c.Admin.ListAttachments(ctx, &ashlar.ListAttachmentsRequest{Volume: args[0]})
			return view.FromAttachments(r.GetAttachments()), err
		})
}

func (a *app) volumeDetachCommand() *cobra.Command {
	var session uint64
	cmd := a.listing("detach NAME", "End attachments of a volume: all, or one with --session",
		exactArgs("NAME"),
		func(ctx context.Context, c *admin.Clients, args []string) (view.Tabler, error) {
			r, err := c.Admin.DetachVolume(ctx, &ashlar.DetachVolumeRequest{Volume: args[0],
				SessionId: session})
			if err == nil && r.GetFenceEpoch() != 0 {
				err = a.fence(ctx, r)
			}
			return view.FromAttachments(r.GetDetached()), err
		})
	cmd.Flags().Uint64Var(&session, "session", 0, "the session of `volume attachments` to end")
	return cmd
}

// fence tells the copysets of a volume that what was detached may write no more.
func (a *app) fence(ctx context.Context, r *ashlar.DetachVolumeResponse) error {
	endpoint, err := a.find()
	if err != nil {
		return err
	}
	c, err := client.Connect(ctx, client.Config{Endpoint: endpoint, Name: "ashlar detach",
		Timeout: callTimeout, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer c.Close()
	err = c.Fence(ctx, r.GetVolume(), r.GetFenceEpoch(), r.GetClusterId())
	if err != nil {
		return fmt.Errorf("the control plane has ended the attachments, but one of the volume's "+
			"copysets may take writes of theirs still: detach again: %w", err)
	}
	return nil
}
