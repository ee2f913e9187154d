//go:build !rdma || !cgo || !linux

package ibv

import (
	"fmt"

	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
)

// Built says whether this program can use cards.
const Built = false

// New fails with verbs.ErrUnsupported: this program was built without RDMA.
func New(Options) (verbs.Provider, error) {
	return nil, fmt.Errorf("%w: built without RDMA: use the program that `make build-rdma` makes",
		verbs.ErrUnsupported)
}
