package nemesis

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/ashlar-storage/ashlar/perf/faultfs"
	"github.com/ashlar-storage/ashlar/perf/hot"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
	"github.com/ashlar-storage/ashlar/rpc/client"
)

const (
	lateTime  = 50 * time.Millisecond
	stuckTime = 5 * time.Second // longer than it takes to notice
	// refillWait is for clusters that fill the replicas of a node again under load.
	refillWait = 3 * time.Minute

	coldVolume = "cold"
	coldChunks = 24 // so that every copyset has some
	coldPart   = 256
	chunkBytes = 16 << 20
	freshMost  = 256 // chunks that full disks are asked for
)

// wipedBlows are those that take what a node had. They need no disk that can fail.
var wipedBlows = []blow{
	{name: "killed and its disk replaced by an empty one", begin: wipe,
		whole: refillWait, alone: true},
	{name: "killed and its disk rolled back to an earlier day", begin: rollBack,
		whole: refillWait, alone: true},
}

// diskBlows are those that need a disk which can fail below every node.
var diskBlows = []blow{
	{name: "unable to write its log for 3 s (EIO), and restarted", begin: failLog,
		least: blowTime, alone: true},
	{name: "out of space for 3 s", begin: fillUp, meet: askForChunks, least: blowTime},
	{name: "given a disk 50 ms late for 3 s", begin: delayDisk, least: blowTime, gentle: true},
	{name: "given a disk that stalls for 5 s", begin: stallDisk, least: stuckTime},
	{name: "given bad sectors under reads", begin: spoilDisk, meet: readCold,
		alone: true},
}

func (s *struck) disk() *faultfs.FS { return s.disks[s.p.Name] }

// heal ends every fault of the disk.
func (s *struck) heal() error {
	s.disk().Clear()
	return nil
}

// kill ends the node and waits until it is gone.
func (s *struck) kill(sig syscall.Signal) error {
	if err := signal(s.p, sig); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), reapWait)
	defer cancel()
	return s.cluster.ReapOne(ctx, s.p)
}

// failLog lets the log meet an error, after which the store does nothing more: an operator starts
// the node again once its disk is sound.
func failLog(s *struck) (end func() error, err error) {
	r := &faultfs.Rule{Pattern: "log/*", Kinds: faultfs.Write | faultfs.Sync, Errno: syscall.EIO}
	return func() error {
		met := r.Hits() > 0
		s.disk().Clear()
		if !met {
			return errors.New("nemesis: no write of the log met the error")
		}
		return s.kill(syscall.SIGTERM)
	}, s.disk().Fail(r)
}

func fillUp(s *struck) (end func() error, err error) {
	s.disk().Full(fullSpare)
	return s.heal, nil
}

func delayDisk(s *struck) (end func() error, err error) {
	return s.heal, s.disk().Fail(&faultfs.Rule{Kinds: faultfs.Write | faultfs.Sync,
		Delay: lateTime})
}

func stallDisk(s *struck) (end func() error, err error) {
	_, err = s.disk().Stall("", stuckTime)
	return s.heal, err
}

func spoilDisk(s *struck) (end func() error, err error) {
	rules, err := spoil(s.disk())
	return func() error {
		hits := int64(0)
		for _, r := range rules {
			hits += r.Hits()
		}
		s.disk().Clear()
		if hits == 0 {
			return errors.New("nemesis: no read met a bad sector")
		}
		return nil
	}, err
}

// wipe takes a node's disk out and puts an empty one in its place, before it is started again.
func wipe(s *struck) (end func() error, err error) {
	if err := s.kill(syscall.SIGKILL); err != nil {
		return nil, err
	}
	return nil, empty(s.place(s.p.Name))
}

// rollBack gives a node its disk as it was at an earlier start: a copy that somebody kept, or a
// snapshot below it. Everything on it is sound, and what the node promised since is not there.
func rollBack(s *struck) (end func() error, err error) {
	now, earlier := s.place(s.p.Name), filepath.Join(s.dir, "earlier")
	if err := s.kill(syscall.SIGTERM); err != nil {
		return nil, err
	}
	if err := copyAll(now, earlier); err != nil {
		return nil, err
	}
	// Whole again, it has promised more, and the control plane has heard how much.
	if err := s.await(wholeWait, s.isBack); err != nil {
		return nil, err
	}
	if err := s.kill(syscall.SIGKILL); err != nil {
		return nil, err
	}
	return nil, errors.Join(empty(now), copyAll(earlier, now), os.RemoveAll(earlier))
}

// isBack says that the node's process is the one started last, and has everything.
func (s *struck) isBack(st *v1.ClusterStatusResponse) bool {
	return full(st) && slices.ContainsFunc(st.GetProcesses(), func(p *v1.Process) bool {
		return p.GetId() == s.p.Name && p.GetPid() == uint64(s.p.PID)
	})
}

// copyAll copies what is in a directory into another, which is made.
func copyAll(from, to string) error {
	out, err := exec.Command("cp", "-a", "--reflink=auto", from+"/.", to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("nemesis: copy %s to %s: %w: %s", from, to, err, out)
	}
	return nil
}

// empty removes what is in a directory.
func empty(dir string) error {
	names, err := os.ReadDir(dir)
	for _, n := range names {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, n.Name())))
	}
	return err
}

// cold is data that is written once and read again after every kind of blow: what a replica has of
// it is on its disk, and in no log.
type cold struct {
	*ledger
	volume *client.Volume
	fresh  int64 // chunks behind it that were asked for
}

func newCold(m *machine) (*cold, error) {
	err := m.cluster.CreateVolume(m.t.Context(), coldVolume, (coldChunks+freshMost)*chunkBytes)
	if err != nil {
		return nil, err
	}
	c := &cold{ledger: newLedger(coldChunks * coldPart)}
	if c.volume, err = m.client.OpenVolume(m.t.Context(), coldVolume); err != nil {
		return nil, err
	}
	const step = 64
	for first := 0; first < len(c.sent); first += step {
		if err := c.writeOne(c, first, make([]byte, step*blockSize)); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// at is where a byte of the ledger is: each part in the middle of a chunk of its own.
func (c *cold) at(off int64) int64 {
	const part = coldPart * blockSize
	return off/part*chunkBytes + chunkBytes/2 + off%part
}

// ReadAt and WriteAt are of bytes of the ledger, all of one part.
func (c *cold) ReadAt(p []byte, off int64) (int, error)  { return c.volume.ReadAt(p, c.at(off)) }
func (c *cold) WriteAt(p []byte, off int64) (int, error) { return c.volume.WriteAt(p, c.at(off)) }

// readCold reads all of the cold data; the longest read counts as the load's operations do.
func readCold(e *endurance, _ *struck) error {
	err := e.cold.check(e.cold)
	hot.Raise(&e.ledger.longest, e.cold.longest.Swap(0))
	return err
}

// askForChunks writes where there are no chunks yet. A full store may refuse that with the error
// that says so, and with no other.
func askForChunks(e *endurance, _ *struck) error {
	for range 2 {
		at := (coldChunks + e.cold.fresh%freshMost) * chunkBytes
		e.cold.fresh++
		_, err := e.cold.volume.WriteAt(make([]byte, blockSize), at)
		if err != nil && !errors.Is(err, client.ErrNoSpace) {
			return fmt.Errorf("nemesis: a write to a new chunk: %w", err)
		}
	}
	return nil
}
