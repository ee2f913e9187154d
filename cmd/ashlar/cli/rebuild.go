package cli

import (
	"context"
	"fmt"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/view"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

const (
	// rebuildPause is between two looks at a survey.
	rebuildPause = 300 * time.Millisecond
	// rebuildNames is how many copysets a message names that have not told.
	rebuildNames = 8
)

// rebuildCommand compares what the nodes hold with restored metadata.
func (a *app) rebuildCommand() *cobra.Command {
	req := &ashlar.RebuildVolumesRequest{}
	var wait time.Duration
	cmd := &cobra.Command{Use: "rebuild",
		Short: "Find the volumes that restored metadata do not have",
		Long: "Have the leaders of all copysets tell which chunks they hold, and list the " +
			"volumes that the\nrestored metadata do not have, or have smaller. --apply writes " +
			"them down as\nrecovered/volume-N; those that a client has open are left alone.",
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			return a.rebuild(ctx, req, wait)
		}}
	a.findFlags(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&req.Apply, "apply", false, "write down what can be recovered")
	flags.Uint64Var(&req.Nodes, "nodes", 0, "how many nodes the cluster has, all of which must be "+
		"up: with --apply where there was no backup")
	flags.DurationVar(&wait, "wait", time.Minute, "for copysets that do not tell")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) rebuild(ctx context.Context, req *ashlar.RebuildVolumesRequest, wait time.Duration,
) error {
	endpoint, err := a.find()
	if err != nil {
		return err
	}
	clients, err := admin.Dial(endpoint, admin.WithCallTimeout(callTimeout))
	if err != nil {
		return err
	}
	defer clients.Close()
	resp, err := surveyed(ctx, clients, req, wait)
	if err != nil {
		return err
	}
	return a.print(view.FromRebuild(resp))
}

// surveyed begins a survey and waits for its end.
func surveyed(ctx context.Context, clients *admin.Clients, req *ashlar.RebuildVolumesRequest,
	wait time.Duration,
) (*ashlar.RebuildVolumesResponse, error) {
	resp, err := clients.Admin.RebuildVolumes(ctx, req)
	moved, left := time.Now(), -1 // when fewer waited, and how many
	for err == nil && resp.GetState() != "done" {
		waits := resp.GetWaitsFor()
		if len(waits) != left {
			moved, left = time.Now(), len(waits)
		}
		switch {
		case resp.GetState() == "failed":
			return nil, fmt.Errorf("control rebuild: %s", resp.GetReason())
		case time.Since(moved) > wait:
			return nil, admin.Errorf(admin.ErrUnavailable, "control rebuild: copysets %v do not "+
				"tell: without a leader nobody knows what they have; nothing was written down",
				waits[:min(len(waits), rebuildNames)])
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(rebuildPause):
		}
		resp, err = clients.Admin.RebuildVolumes(ctx,
			&ashlar.RebuildVolumesRequest{Survey: resp.GetSurvey()})
	}
	return resp, err
}
