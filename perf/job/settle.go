package job

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// settle checks what options say together, and fills in what follows from others.
func (j *Job) settle() error {
	if j.mixSet && j.mixed() {
		j.Reads = j.mix
	}
	if j.Percentiles != nil {
		j.Percentiles = slices.Clone(j.Percentiles)
		slices.Sort(j.Percentiles)
	}
	if !j.mixed() && j.OpenLoop() {
		for d := range j.Rate {
			if !j.Has(d) {
				j.Rate[d] = 0
			}
		}
	}
	if j.OpenLoop() && !j.pctSet {
		// The latency that an open loop is for is the one from the intended start.
		j.LatPct = true
	}
	for _, check := range []func() error{j.checkEngine, j.checkTime, j.checkBlocks,
		j.checkRate, j.checkVerify} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (j *Job) mixed() bool { return j.Reads > 0 && j.Reads < 100 }

func (j *Job) bad(format string, args ...any) error {
	where := j.Where
	if where == "" {
		where = "command line"
	}
	return fmt.Errorf("%w: %s: job %s: %s", ErrInvalid, where, j.Name,
		fmt.Sprintf(format, args...))
}

// needs says which option an engine cannot do without; wants says which it may have.
var needs = map[string]string{"ashlar": "volume", "nbd": "uri", "uring": "filename", "net": "",
	"null": ""}

func (j *Job) checkEngine() error {
	if j.Engine == "" {
		return j.bad("ioengine is not set: use one of %s", strings.Join(engines, ", "))
	}
	of := map[string]string{"volume": j.Volume, "uri": j.URI, "filename": j.File}
	for _, name := range []string{"volume", "uri", "filename"} {
		need := needs[j.Engine] == name
		switch {
		case need && of[name] == "":
			return j.bad("%s is not set: engine %s needs it", name, j.Engine)
		case !need && of[name] != "":
			return j.bad("engine %s has no %s: leave it out", j.Engine, name)
		}
	}
	cluster := j.Engine == "ashlar"
	switch {
	case j.Data != "" && !cluster:
		return j.bad("engine %s has no data: leave it out", j.Engine)
	case j.Endpoint != "" && !cluster && j.Engine != "net":
		return j.bad("engine %s has no endpoint: leave it out", j.Engine)
	case j.Data != "" && j.Endpoint != "":
		return j.bad("endpoint and data name the cluster twice: keep one")
	case j.Engine == "net" && (j.Sync != "none" || j.Fsync+j.Fdatasync > 0 || j.EndFsync ||
		j.Verify != "none"):
		return j.bad("engine net stores nothing: leave sync, fsync, fdatasync, end_fsync and " +
			"verify out")
	case j.Engine == "null" && j.Verify != "none":
		return j.bad("engine null stores nothing: leave verify out")
	case (j.Engine == "net" || j.Engine == "null") && (j.Size.Percent > 0 ||
		j.Offset.Percent > 0 || j.Size.Bytes == 0):
		return j.bad("engine %s has no size of its own: write size in bytes, such as size=1g",
			j.Engine)
	}
	return nil
}

func (j *Job) checkTime() error {
	switch {
	case j.TimeBased && j.Runtime == 0:
		return j.bad("time_based needs runtime: write runtime=30s")
	case j.TimeBased && (j.Ops > 0 || j.IOSize > 0):
		return j.bad("time_based ends with runtime: leave number_ios and io_size out")
	case j.Think > 0 && j.Depth > 1:
		return j.bad("thinktime needs iodepth=1: for a deeper job at a given pace use rate_iops")
	case j.Think > 0 && j.OpenLoop():
		return j.bad("thinktime and rate_iops both set the pace: keep one")
	case j.LogAverage > 0 && j.BWLog+j.LatLog+j.IOPSLog == "":
		return j.bad("log_avg_msec without a log: add write_bw_log, write_lat_log or " +
			"write_iops_log")
	case j.Runtime > 365*24*time.Hour:
		return j.bad("runtime is longer than a year")
	}
	return nil
}

func (j *Job) checkBlocks() error {
	several := len(j.Blocks[Read]) > 1 || len(j.Blocks[Write]) > 1 ||
		j.mixed() && j.Blocks[Read][0] != j.Blocks[Write][0]
	switch {
	case several && j.Random && !j.NoMap:
		return j.bad("blocks of different sizes at random offsets are drawn with repetition: " +
			"add norandommap=1")
	case j.Spread.Kind != "random" && !j.Random:
		return j.bad("random_distribution needs a random rw: use randread, randwrite or randrw")
	case j.Fsync > 0 && j.Fdatasync > 0:
		return j.bad("fsync and fdatasync both flush: keep one")
	case (j.Fsync+j.Fdatasync > 0 || j.EndFsync) && !j.Has(Write):
		return j.bad("fsync, fdatasync and end_fsync are for jobs that write")
	}
	return nil
}

func (j *Job) checkRate() error {
	if j.Poisson && !j.OpenLoop() {
		return j.bad("rate_process needs rate_iops: write rate_iops=1000")
	}
	if !j.OpenLoop() || !j.mixed() {
		return nil
	}
	if j.mixSet {
		return j.bad("rate_iops=READS,WRITES sets the mix: leave rwmixread and rwmixwrite out")
	}
	return nil
}

func (j *Job) checkVerify() error {
	if j.Verify == "none" {
		if j.Pattern != nil {
			return j.bad("verify_pattern without verify: add verify=pattern")
		}
		return nil
	}
	several := len(j.Blocks[Read]) > 1 || len(j.Blocks[Write]) > 1 ||
		j.mixed() && j.Blocks[Read][0] != j.Blocks[Write][0]
	block := j.Blocks[Write][0].Bytes
	if !j.Has(Write) {
		block = j.Blocks[Read][0].Bytes
	}
	switch {
	case several:
		return j.bad("verify needs one block size: write bs=4k")
	case j.Verify == "pattern" && j.Pattern == nil:
		return j.bad("verify=pattern needs verify_pattern: write verify_pattern=0xdeadbeef")
	case j.Verify == "crc32c" && j.Pattern != nil:
		return j.bad("verify_pattern is for verify=pattern: the blocks of crc32c are random")
	case j.Verify == "crc32c" && block < stampBytes:
		return j.bad("verify=crc32c needs blocks of %d bytes or more", stampBytes)
	case j.PatternAt >= 0 && len(j.Pattern) > block:
		return j.bad("verify_pattern is longer than a block: its offset has no place")
	case j.Clones > 1 && j.Step == 0 && j.Has(Write):
		return j.bad("verify needs clones that write apart: add offset_increment=SIZE")
	}
	return nil
}

// stampBytes is the head of a verified block: see perf/load.
const stampBytes = 32
