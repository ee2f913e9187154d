package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/datadir"
	"github.com/ashlar-storage/ashlar/rpc/admin"
)

const (
	envEndpoint = "ASHLAR_ENDPOINT"
	callTimeout = 10 * time.Second
)

// findFlags gives a command the two ways to name a cluster.
func (a *app) findFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.endpoint, "endpoint", "",
		"control plane, host:port, several with commas (environment: "+envEndpoint+")")
	cmd.Flags().StringVar(&a.data, "data", "", "directory of a cluster that `ashlar up` runs")
}

// find returns the address of the control plane: a flag, else the environment.
func (a *app) find() (string, error) {
	switch {
	case a.endpoint != "" && a.data != "":
		return "", usage("--endpoint and --data name the cluster twice: keep one")
	case a.endpoint != "":
		return a.endpoint, nil
	case a.data != "":
		layout, err := datadir.Read(a.data)
		return layout.Control, err
	case env(envEndpoint) != "":
		return env(envEndpoint), nil
	}
	return "", usage("no cluster is named: give --endpoint HOST:PORT, set %s, or give --data DIR "+
		"of a cluster that `ashlar up` runs", envEndpoint)
}

// isOf reports whether a process is one of the cluster in a directory: its arguments name a file
// there.
func isOf(pid int, data string) bool {
	dir, err := filepath.Abs(data)
	if err != nil {
		return false
	}
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && strings.Contains(string(args), dir+string(filepath.Separator))
}

// ask calls f with clients of the cluster and a bounded context.
func (a *app) ask(ctx context.Context, f func(context.Context, *admin.Clients) error) error {
	endpoint, err := a.find()
	if err != nil {
		return err
	}
	clients, err := admin.Dial(endpoint)
	if err != nil {
		return err
	}
	defer clients.Close()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err = f(ctx, clients)
	if errors.Is(err, admin.ErrUnavailable) && a.data != "" {
		return fmt.Errorf("%w; is `ashlar up --data %s` running?", err, a.data)
	}
	return err
}
