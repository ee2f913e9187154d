package output

import (
	"context"
	"errors"
	"syscall"

	"github.com/ashlar-storage/ashlar/perf/hist"
	"github.com/ashlar-storage/ashlar/perf/load"
	"github.com/ashlar-storage/ashlar/rpc/nbd"
)

const buckets = hist.Buckets

func valueOf(bucket int) uint64 { return hist.Value(bucket) }

// errno is the number that fio would give: EILSEQ for a block that is wrong, EINTR for a run that
// was ended.
func errno(err error) int {
	var sys syscall.Errno
	var remote nbd.Errno
	switch {
	case errors.Is(err, load.ErrLied):
		return int(syscall.EILSEQ)
	case errors.Is(err, context.Canceled):
		return int(syscall.EINTR)
	case errors.As(err, &sys):
		return int(sys)
	case errors.As(err, &remote):
		return int(remote)
	}
	return int(syscall.EIO)
}
