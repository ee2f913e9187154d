package suite

import (
	"fmt"
	"time"

	"github.com/ashlar-storage/ashlar/perf/engine"
	"github.com/ashlar-storage/ashlar/perf/job"
	"github.com/ashlar-storage/ashlar/perf/load"
)

// jobsMax bounds the jobs that run together.
const jobsMax = 1024

// member is one clone of a job.
type member struct {
	job   *job.Job
	clone int // from 0
	group int // of the report
	wave  int // members of a wave run together
}

// arrange makes members of jobs. A stonewall begins a wave and a group, new_group only a group.
func arrange(jobs []*job.Job) (out []member, err error) {
	wave, group, together := 0, 0, 0
	for i, j := range jobs {
		if i > 0 && j.Wait {
			wave, together = wave+1, 0
		}
		if i > 0 && (j.Wait || j.NewGroup) {
			group++
		}
		for clone := range j.Clones {
			out = append(out, member{j, clone, group, wave})
		}
		if together += j.Clones; together > jobsMax {
			return nil, fmt.Errorf("%w: job %s: %d jobs run together, at most %d: use a smaller "+
				"numjobs, or stonewall", job.ErrInvalid, j.Name, together, jobsMax)
		}
	}
	return out, nil
}

func (m *member) spec() engine.Spec {
	j := m.job
	s := engine.Spec{Kind: j.Engine, Volume: j.Volume, Endpoint: j.Endpoint, URI: j.URI,
		File: j.File, Depth: j.Depth, Write: j.Has(job.Write), Direct: j.Direct, Sync: j.Sync,
		Flush: j.Fsync+j.Fdatasync > 0 || j.EndFsync}
	for d, shares := range j.Blocks {
		for _, b := range shares {
			if j.Has(d) {
				s.Block = max(s.Block, b.Bytes)
			}
		}
	}
	if j.Size.Percent == 0 && j.Size.Bytes > 0 && j.Offset.Percent == 0 {
		s.Reach = j.Offset.Bytes + int64(m.clone)*j.Step + j.Size.Bytes
	}
	return s
}

// fit makes the load of a job on a target of so many bytes; 0: as many as are asked for.
func (m *member) fit(target int64) (load.Job, error) {
	j := m.job
	of := func(a job.Amount) int64 {
		if a.Percent > 0 {
			return target / 100 * int64(a.Percent)
		}
		return a.Bytes
	}
	offset := of(j.Offset) + int64(m.clone)*j.Step
	size := of(j.Size)
	if size == 0 {
		size = target - offset
	}
	if target > 0 && (offset+size > target || size <= 0) {
		return load.Job{}, fmt.Errorf("%w: job %s: offset %d and size %d pass the end of its "+
			"target, which has %d bytes", job.ErrInvalid, j.Name, offset, size, target)
	}
	l := load.Job{Reads: j.Reads, Sizes: j.Blocks, Random: j.Random, Spread: j.Spread,
		Distinct: j.Random && !j.NoMap && j.Spread.Kind == "random", Depth: j.Depth,
		Offset: offset, Size: size, Seed: j.Seed + uint64(m.clone), Ops: j.Ops, Bytes: j.IOSize,
		Duration: j.Runtime, Ramp: j.Ramp, Think: j.Think, Rate: j.Rate, Poisson: j.Poisson,
		SyncEvery: max(j.Fsync, j.Fdatasync), SyncLast: j.EndFsync,
		Logs: load.Logs{BW: j.BWLog != "", Lat: j.LatLog != "", IOPS: j.IOPSLog != "",
			Every: j.LogAverage}}
	if !j.Repeatable {
		l.Seed += uint64(time.Now().UnixNano())
	}
	if l.Bytes == 0 && !j.TimeBased {
		l.Bytes = size
	}
	if j.Verify != "none" {
		l.Verify = &load.Verify{Pattern: j.Pattern, PatternAt: j.PatternAt, After: j.DoVerify,
			Fatal: j.VerifyFatal}
	}
	return l, nil
}
