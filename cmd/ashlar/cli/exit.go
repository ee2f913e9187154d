package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/config"
	"github.com/ashlar-storage/ashlar/cmd/ashlar/daemon"
	"github.com/ashlar-storage/ashlar/cmd/ashlar/datadir"
	"github.com/ashlar-storage/ashlar/cmd/ashlar/supervise"
	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/controlplane/placement"
	"github.com/ashlar-storage/ashlar/dataplane/store"
	"github.com/ashlar-storage/ashlar/io/disk"
	"github.com/ashlar-storage/ashlar/perf/compare"
	"github.com/ashlar-storage/ashlar/perf/engine"
	"github.com/ashlar-storage/ashlar/perf/floor"
	"github.com/ashlar-storage/ashlar/perf/hot"
	"github.com/ashlar-storage/ashlar/perf/job"
	"github.com/ashlar-storage/ashlar/perf/linear"
	"github.com/ashlar-storage/ashlar/perf/load"
	"github.com/ashlar-storage/ashlar/perf/page"
	"github.com/ashlar-storage/ashlar/rpc/admin"
)

// The exit statuses; docs/cli.md promises them to scripts.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitExists      = 4
	exitNoSpace     = 5
	exitUnavailable = 6
	exitRefused     = supervise.ExitRefused
	exitDamaged     = 8
)

// errUsage marks mistakes in what was typed.
var errUsage = errors.New("usage")

// usageError is a mistake in what was typed; it prints as its text alone.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }
func (e *usageError) Unwrap() error { return errUsage }

func usage(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// statuses says which class of error ends the process how; the first that matches counts.
var statuses = []struct {
	class  error
	status int
}{
	{errUsage, exitUsage},
	{config.ErrInvalid, exitUsage},
	{job.ErrInvalid, exitUsage},
	{engine.ErrUnfit, exitUsage},
	{load.ErrJob, exitUsage},
	{load.ErrLied, exitDamaged},
	{floor.ErrInvalid, exitUsage},
	{compare.ErrInvalid, exitUsage},
	{page.ErrInvalid, exitUsage},
	{placement.ErrImpossible, exitUsage},
	{datadir.ErrNone, exitUsage},
	{datadir.ErrRefused, exitRefused},
	{datadir.ErrInUse, exitRefused},
	{daemon.ErrRefused, exitRefused},
	{supervise.ErrRefused, exitRefused},
	{admin.ErrForeign, exitRefused},
	{disk.ErrLocked, exitRefused},
	{disk.ErrForeign, exitRefused},
	{disk.ErrVersion, exitRefused},
	{disk.ErrCorrupt, exitDamaged},
	{store.ErrForeign, exitRefused},
	{errDamaged, exitDamaged},
	{hot.ErrForeign, exitRefused},
	{hot.ErrTorn, exitDamaged},
	{linear.ErrViolated, exitDamaged},
	{store.ErrNoChunk, exitNotFound},
	{meta.ErrLocked, exitRefused},
	{meta.ErrForeign, exitRefused},
	{meta.ErrVersion, exitRefused},
	{meta.ErrMoved, exitRefused},
	{meta.ErrExists, exitExists},
	{meta.ErrNotFound, exitNotFound},
	{meta.ErrBackup, exitDamaged},
	{meta.ErrUnavailable, exitUnavailable},
	{admin.ErrNotFound, exitNotFound},
	{admin.ErrExists, exitExists},
	{admin.ErrNoSpace, exitNoSpace},
	{admin.ErrInvalid, exitUsage},
	{admin.ErrUnavailable, exitUnavailable},
	{context.DeadlineExceeded, exitUnavailable},
}

func exitStatus(err error) int {
	if err == nil {
		return exitOK
	}
	for _, s := range statuses {
		if errors.Is(err, s.class) {
			return s.status
		}
	}
	return exitFailed
}
