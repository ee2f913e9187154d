package sim

import (
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/schedule"
)

// config is one run.
type config struct {
	name             string
	seed             uint64
	days             int
	zones, nodes     int // nodes in all
	stores           int // of each node
	copysets         int
	capacity         uint64  // bytes of a store
	full             float64 // part of it that is used at the beginning
	diskAFR, nodeAFR float64 // for good, in a year
	restarts         float64 // of a node in a year; most are short
	outageDay        int     // of a zone, for 40 minutes; 0: none
	addDay, addNodes int     // 0: none
	fillRate         float64 // bytes in a second that a store gives
	writeRate        float64 // bytes in a second that a store takes
	limits           schedule.Limits
}

const (
	step        = 5 * time.Minute
	calm        = time.Hour // between rounds while nothing waits
	day         = 24 * time.Hour
	year        = 365 * day
	retry       = 10 * time.Minute // while something waits and nothing is under way
	replaceDisk = day              // until an empty disk is in the place of a dead one
	outage      = 40 * time.Minute
	replicas    = 3
)

// limits are what schedule.DefaultLimits allow in a step, as the control plane's rounds come once a
// second.
func limits(change func(*schedule.Limits)) schedule.Limits {
	lim := schedule.DefaultLimits()
	if change != nil {
		change(&lim)
	}
	lim.PerRound *= int(step / time.Second)
	lim.Looks *= int(step / time.Second)
	return lim
}
