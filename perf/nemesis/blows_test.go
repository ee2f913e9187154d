package nemesis

import (
	"errors"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/ashlar-storage/ashlar/perf/netlab"
	"github.com/ashlar-storage/ashlar/perf/rig"
	"github.com/ashlar-storage/ashlar/perf/starve"
)

const (
	blowTime = 3 * time.Second
	// blinkTime is less than a follower waits for its leader before it calls an election.
	blinkTime     = 200 * time.Millisecond
	shareLeft     = 5 // percent of one processor
	packetDelay   = 20 * time.Millisecond
	packetJitter  = 20 * time.Millisecond
	packetsLost   = 0.2
	longestFreeze = 20 * time.Second
)

// blow is something that happens to the node that leads the most copysets.
type blow struct {
	name string
	// begin lets it happen. It gives what ends it, which is nil when the blow is over at once.
	begin func(s *struck) (end func() error, err error)
	// least and most are how long it lasts, drawn anew each time; most 0: just as long as least.
	least, most time.Duration
	// meet does something beside the load that runs into it; may be nil.
	meet func(e *endurance, s *struck) error
	// whole is how long it may take until the cluster is whole again, counted among the pauses
	// then; 0: wholeWait.
	whole time.Duration
	// gentle blows leave a node that answers: another may be struck at the same time.
	gentle bool
	// alone blows cannot be dealt beside another: what they look for would not happen.
	alone bool
}

// struck is a node that is dealt a blow.
type struck struct {
	*machine
	p   *rig.Process
	rng *rand.Rand
}

// lasts draws how long the blow lasts.
func (b *blow) lasts(rng *rand.Rand) time.Duration {
	if b.most <= b.least {
		return b.least
	}
	return b.least + time.Duration(rng.Int64N(int64(b.most-b.least)))
}

// blows are those of every run.
var blows = []blow{
	{name: "killed (SIGKILL)", begin: sends(syscall.SIGKILL)},
	{name: "frozen for 3 s (SIGSTOP)", begin: freeze, least: blowTime},
	{name: "stopped (SIGTERM)", begin: sends(syscall.SIGTERM)},
	{name: "unheard by the others for 3 s", begin: cutOff(true, false), least: blowTime},
	{name: "deaf to the others for 3 s", begin: cutOff(false, true), least: blowTime},
	{name: "cut off from the others for 3 s", begin: cutOff(true, true), least: blowTime},
}

// rareBlows are those of a full run, beside the others, that need no disk which can fail.
var rareBlows = []blow{
	{name: "frozen for 0.2 s (SIGSTOP)", begin: freeze, least: blinkTime},
	{name: "frozen for 1 to 20 s (SIGSTOP)", begin: freeze, least: time.Second,
		most: longestFreeze},
	{name: "cut off from one other for 3 s", begin: cutOne, least: blowTime},
	{name: "20 to 40 ms away from the others for 3 s", least: blowTime, gentle: true,
		begin: slowDown(netlab.Wire{Delay: packetDelay, Jitter: packetJitter})},
	{name: "without one packet in five for 3 s", least: blowTime, gentle: true,
		begin: slowDown(netlab.Wire{Loss: packetsLost})},
	{name: "left 5 % of a processor for 3 s", begin: starved, least: blowTime},
	{name: "killed together with the control plane", begin: killWithControl},
}

// signal sends a signal; a process that has ended needs none.
func signal(p *rig.Process, sig syscall.Signal) error {
	if err := syscall.Kill(p.PID, sig); !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

func sends(sig syscall.Signal) func(s *struck) (func() error, error) {
	return func(s *struck) (func() error, error) { return nil, signal(s.p, sig) }
}

func freeze(s *struck) (end func() error, err error) {
	return func() error { return signal(s.p, syscall.SIGCONT) }, signal(s.p, syscall.SIGSTOP)
}

func starved(s *struck) (end func() error, err error) {
	if errors.Is(syscall.Kill(s.p.PID, 0), syscall.ESRCH) {
		return nil, nil // another blow was faster
	}
	return starve.Starve(s.p.PID, shareLeft)
}

// killWithControl has the nodes elect without anybody to ask.
func killWithControl(s *struck) (end func() error, err error) {
	for _, p := range s.cluster.Processes {
		if p == s.p || p.Role == "control" {
			err = errors.Join(err, signal(p, syscall.SIGKILL))
		}
	}
	return nil, err
}

// others are the nodes that are not struck.
func (s *struck) others() (list []*rig.Process) {
	for _, p := range s.cluster.Nodes() {
		if p != s.p {
			list = append(list, p)
		}
	}
	return list
}

// cutOff drops what a node sends to the other nodes, or they to it, or both. The client and the
// control plane reach it all the time.
func cutOff(from, to bool) func(s *struck) (func() error, error) {
	return func(s *struck) (func() error, error) {
		var err error
		for _, other := range s.others() {
			if from && err == nil {
				err = s.lab.Cut(s.p.Name, other.Name)
			}
			if to && err == nil {
				err = s.lab.Cut(other.Name, s.p.Name)
			}
		}
		return s.lab.Mend, err
	}
}

// cutOne cuts both ways between a node and one other. The third hears both.
func cutOne(s *struck) (end func() error, err error) {
	others := s.others()
	other := others[s.rng.IntN(len(others))]
	return s.lab.Mend, errors.Join(s.lab.Cut(s.p.Name, other.Name),
		s.lab.Cut(other.Name, s.p.Name))
}

// slowDown makes the ways between a node and the other nodes bad, in both directions.
func slowDown(w netlab.Wire) func(s *struck) (func() error, error) {
	return func(s *struck) (func() error, error) {
		var err error
		for _, other := range s.others() {
			err = errors.Join(err, s.lab.Slow(s.p.Name, other.Name, w),
				s.lab.Slow(other.Name, s.p.Name, w))
		}
		return s.lab.Mend, err
	}
}
