package wire

import (
	"errors"
	"fmt"
)

// Status is the outcome of a request. Numbers are never reused.
type Status uint16

// The outcomes.
const (
	StatusOK           Status = 0
	StatusNotLeader    Status = 1  // ask IOResponse.LeaderAddr
	StatusOverloaded   Status = 2  // a bound was hit; retry after RetryAfterMS
	StatusBadRequest   Status = 3  // the request makes no sense; never retried
	StatusOutOfRange   Status = 4  // offset and length pass the end of the chunk
	StatusChecksum     Status = 5  // the payload did not match its checksums
	StatusStaleEpoch   Status = 6  // a newer session holds the volume; final
	StatusNoSpace      Status = 7  // the store has no room for a new chunk
	StatusUnavailable  Status = 8  // the store or copyset cannot serve now
	StatusRetry        Status = 9  // nothing was decided; send the same op id again
	StatusInternal     Status = 10 // a fault of the node
	StatusWrongCopyset Status = 11 // the chunk does not live there; fetch the mapping
	StatusCorrupt      Status = 12 // stored bytes do not match and no good copy was found
	StatusWrongCluster Status = 13 // greeting of another cluster
	StatusVersion      Status = 14 // greeting of a newer protocol version
	StatusNotFound     Status = 15 // no such volume, chunk or snapshot
	StatusStaleOp      Status = 16 // the op id lies below the session's low-water mark
)

// Classes of failed requests: what Status.Err returns and errors.Is finds.
var (
	ErrNotLeader    = errors.New("wire: not the leader")
	ErrOverloaded   = errors.New("wire: overloaded")
	ErrBadRequest   = errors.New("wire: bad request")
	ErrOutOfRange   = errors.New("wire: range passes the end of the chunk")
	ErrChecksum     = errors.New("wire: checksum mismatch")
	ErrStaleEpoch   = errors.New("wire: session was replaced by a newer one")
	ErrNoSpace      = errors.New("wire: no space")
	ErrUnavailable  = errors.New("wire: unavailable")
	ErrRetry        = errors.New("wire: undecided, retry")
	ErrInternal     = errors.New("wire: internal error of the node")
	ErrWrongCopyset = errors.New("wire: chunk belongs to another copyset")
	ErrCorrupt      = errors.New("wire: stored data is corrupt")
	ErrWrongCluster = errors.New("wire: peer belongs to another cluster")
	ErrNotFound     = errors.New("wire: not found")
	ErrStaleOp      = errors.New("wire: operation is already finished")
)

var statuses = [...]struct {
	name string
	err  error
}{
	StatusOK:           {"ok", nil},
	StatusNotLeader:    {"not-leader", ErrNotLeader},
	StatusOverloaded:   {"overloaded", ErrOverloaded},
	StatusBadRequest:   {"bad-request", ErrBadRequest},
	StatusOutOfRange:   {"out-of-range", ErrOutOfRange},
	StatusChecksum:     {"checksum", ErrChecksum},
	StatusStaleEpoch:   {"stale-epoch", ErrStaleEpoch},
	StatusNoSpace:      {"no-space", ErrNoSpace},
	StatusUnavailable:  {"unavailable", ErrUnavailable},
	StatusRetry:        {"retry", ErrRetry},
	StatusInternal:     {"internal", ErrInternal},
	StatusWrongCopyset: {"wrong-copyset", ErrWrongCopyset},
	StatusCorrupt:      {"corrupt", ErrCorrupt},
	StatusWrongCluster: {"wrong-cluster", ErrWrongCluster},
	StatusVersion:      {"version", ErrVersion},
	StatusNotFound:     {"not-found", ErrNotFound},
	StatusStaleOp:      {"stale-op", ErrStaleOp},
}

func (s Status) String() string {
	if int(s) < len(statuses) {
		return statuses[s].name
	}
	return fmt.Sprintf("status-%d", uint16(s))
}

// Err returns the error class of the status: nil for StatusOK, an error of
// class ErrInternal that names the number for a status this build does not
// know. It allocates only for the latter.
func (s Status) Err() error {
	if int(s) < len(statuses) {
		return statuses[s].err
	}
	return fmt.Errorf("%w: unknown status %d", ErrInternal, uint16(s))
}

// StatusOf returns the status whose class err belongs to, StatusOK for nil and
// StatusInternal for an error of no class.
func StatusOf(err error) Status {
	if err == nil {
		return StatusOK
	}
	for s := range statuses {
		if e := statuses[s].err; e != nil && errors.Is(err, e) {
			return Status(s)
		}
	}
	return StatusInternal
}
