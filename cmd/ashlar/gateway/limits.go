package gateway

import (
	"time"

	"github.com/ashlar-storage/ashlar/rpc/client"
	"github.com/ashlar-storage/ashlar/rpc/nbd"
)

const (
	// poolBytes is the memory for what clients write and nodes answer: what the NBD server may
	// hold, twice, as a read holds room of its own until its answer's buffer takes the place. What
	// is not used is address space only, unless a card has it registered.
	poolBytes = 2*nbd.DefaultMemory + client.DefaultPoolBytes
	// openTimeout bounds the questions to the control plane for one connection.
	openTimeout = 10 * time.Second
	// stopTimeout is how long requests under way may take when the gateway stops.
	stopTimeout = 5 * time.Second
	// A gateway that cannot register tries again after registerRetry.
	registerRetry   = 500 * time.Millisecond
	registerTimeout = 2 * time.Second
	// intervalMin guards against a control plane that asks for a storm.
	intervalMin = 100 * time.Millisecond
	intervalMax = 30 * time.Second
)
