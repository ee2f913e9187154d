package job

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Option is one that this package understands.
type Option struct {
	Name string
	Help string
	Flag bool // may stand without a value
	set  func(*Job, string) error
}

// engines are the names of ioengine.
var engines = []string{"ashlar", "nbd", "uring", "net", "null"}

// options in the order of the manual.
var options = slices.Concat(shape(), targets(), timing(), integrity(), reporting())

// aliases are fio's other names.
var aliases = map[string]string{"readwrite": "rw", "blocksize": "bs", "io_limit": "io_size",
	"blocksize_range": "bsrange", "wait_for_previous": "stonewall", "fileoffset": "offset"}

// Options lists what is understood.
func Options() []Option { return options }

func find(name string) *Option {
	if a, ok := aliases[name]; ok {
		name = a
	}
	i := slices.IndexFunc(options, func(o Option) bool { return o.Name == name })
	if i < 0 {
		return nil
	}
	return &options[i]
}

func flag(name, help string, to func(*Job) *bool) Option {
	return Option{Name: name, Help: help, Flag: true, set: func(j *Job, v string) (err error) {
		*to(j), err = boolOf(v)
		return err
	}}
}

func number(name, help string, low, high int, to func(*Job) *int) Option {
	return Option{Name: name, Help: help, set: func(j *Job, v string) error {
		n, err := intOf(v, int64(low), int64(high))
		*to(j) = int(n)
		return err
	}}
}

func word(name, help string, to func(*Job) *string, allowed ...string) Option {
	return Option{Name: name, Help: help, set: func(j *Job, v string) error {
		if v == "" {
			return fmt.Errorf("a value is missing")
		}
		if len(allowed) > 0 && !slices.Contains(allowed, v) {
			return fmt.Errorf("use one of %s", strings.Join(allowed, ", "))
		}
		*to(j) = v
		return nil
	}}
}

func amount(name, help string, to func(*Job) *Amount) Option {
	return Option{Name: name, Help: help, set: func(j *Job, v string) (err error) {
		*to(j), err = amountOf(v)
		return err
	}}
}

func span(name, help string, unit time.Duration, to func(*Job) *time.Duration) Option {
	return Option{Name: name, Help: help, set: func(j *Job, v string) (err error) {
		*to(j), err = durationOf(v, unit)
		return err
	}}
}

// shape is what is read and written.
func shape() []Option {
	return []Option{
		{Name: "name", Help: "begins a job", set: func(j *Job, v string) error {
			j.Name = v
			return nil
		}},
		{Name: "rw", Help: "read, write, randread, randwrite, rw, randrw", set: setRW},
		{Name: "bs", Help: "block size, or READS,WRITES: 4k", set: setBlocks(one)},
		{Name: "bssplit", Help: "block sizes and their shares: 4k/70:64k/30",
			set: setBlocks(splitOf)},
		{Name: "bsrange", Help: "block sizes, multiples of the smaller: 4k-64k",
			set: setBlocks(rangeOf)},
		amount("size", "bytes that are used, or a share: 1g, 50%",
			func(j *Job) *Amount { return &j.Size }),
		{Name: "io_size", Help: "bytes after which the job ends; default: size", set: setIOSize},
		amount("offset", "where the used bytes begin, or a share: 1g, 50%",
			func(j *Job) *Amount { return &j.Offset }),
		{Name: "offset_increment", Help: "what each clone's offset is beyond the one before",
			set: func(j *Job, v string) (err error) {
				j.Step, err = bytesOf(v)
				return err
			}},
		number("iodepth", "operations at one time", 1, depthMax,
			func(j *Job) *int { return &j.Depth }),
		number("numjobs", "clones of the job that run together", 1, clonesMax,
			func(j *Job) *int { return &j.Clones }),
		{Name: "rwmixread", Help: "percent of operations that read, of rw and randrw",
			set: setMix(false)},
		{Name: "rwmixwrite", Help: "percent of operations that write", set: setMix(true)},
		{Name: "random_distribution", Help: "random, zipf:THETA, pareto:H",
			set: func(j *Job, v string) (err error) {
				j.Spread, err = spreadOf(v)
				return err
			}},
		flag("norandommap", "draw offsets again that were drawn before",
			func(j *Job) *bool { return &j.NoMap }),
		{Name: "randseed", Help: "a number: the same one draws the same offsets",
			set: func(j *Job, v string) (err error) {
				j.Seed, err = strconv.ParseUint(v, 0, 64)
				if err != nil {
					return fmt.Errorf("write a whole number")
				}
				return nil
			}},
		flag("randrepeat", "draw the same offsets in every run (1, the default)",
			func(j *Job) *bool { return &j.Repeatable }),
	}
}

// targets is who serves the operations.
func targets() []Option {
	return []Option{
		word("ioengine", strings.Join(engines, ", "), func(j *Job) *string { return &j.Engine },
			engines...),
		word("filename", "file or block device, of engine uring",
			func(j *Job) *string { return &j.File }),
		word("uri", "nbd://HOST:PORT/EXPORT or nbd+unix:///EXPORT?socket=PATH, of engine nbd",
			func(j *Job) *string { return &j.URI }),
		word("volume", "of engine ashlar", func(j *Job) *string { return &j.Volume }),
		word("endpoint", "HOST:PORT of the control plane (ashlar) or of a frame echo (net)",
			func(j *Job) *string { return &j.Endpoint }),
		word("data", "directory of a cluster run by ashlar up, in place of endpoint",
			func(j *Job) *string { return &j.Data }),
		flag("direct", "do not go through the page cache (engine uring)",
			func(j *Job) *bool { return &j.Direct }),
		{Name: "sync", Help: "every write durable before it ends: none, dsync, sync", Flag: true,
			set: func(j *Job, v string) error {
				as := map[string]string{"": "sync", "1": "sync", "sync": "sync", "dsync": "dsync",
					"0": "none", "none": "none"}
				if as[v] == "" {
					return fmt.Errorf("use none, dsync or sync")
				}
				j.Sync = as[v]
				return nil
			}},
		flag("thread", "as fio: jobs are always threads here", func(*Job) *bool {
			return new(bool)
		}),
	}
}

// timing is when operations begin and the job ends.
func timing() []Option {
	return []Option{
		span("runtime", "the job ends after so long: 30, 30s, 2m", time.Second,
			func(j *Job) *time.Duration { return &j.Runtime }),
		flag("time_based", "run until runtime is over, from the start again if needed",
			func(j *Job) *bool { return &j.TimeBased }),
		span("ramp_time", "time before anything is counted", time.Second,
			func(j *Job) *time.Duration { return &j.Ramp }),
		{Name: "number_ios", Help: "the job ends after so many operations",
			set: func(j *Job, v string) (err error) {
				j.Ops, err = intOf(v, 1, math.MaxInt64)
				return err
			}},
		span("thinktime", "pause after each operation, of iodepth=1: 50, 50us, 1ms",
			time.Microsecond, func(j *Job) *time.Duration { return &j.Think }),
		{Name: "rate_iops", Help: "operations a second, or READS,WRITES: an open loop",
			set: setRate},
		{Name: "rate_process", Help: "linear or poisson: how operations follow each other",
			set: func(j *Job, v string) error {
				if v != "linear" && v != "poisson" {
					return fmt.Errorf("use linear or poisson")
				}
				j.Poisson = v == "poisson"
				return nil
			}},
		flag("stonewall", "wait until the jobs before have ended",
			func(j *Job) *bool { return &j.Wait }),
		flag("new_group", "begin a new group of jobs for the report",
			func(j *Job) *bool { return &j.NewGroup }),
	}
}

// integrity is durability and verification.
func integrity() []Option {
	return []Option{
		number("fsync", "a flush after so many writes", 0, math.MaxInt32,
			func(j *Job) *int { return &j.Fsync }),
		number("fdatasync", "a flush of data after so many writes", 0, math.MaxInt32,
			func(j *Job) *int { return &j.Fdatasync }),
		flag("end_fsync", "a flush at the end", func(j *Job) *bool { return &j.EndFsync }),
		word("verify", "crc32c or pattern: read what was written, and check it",
			func(j *Job) *string { return &j.Verify }, "none", "crc32c", "pattern"),
		{Name: "verify_pattern", Help: `0xdeadbeef, a number, "text", or %o: the offset`,
			set: func(j *Job, v string) (err error) {
				j.Pattern, j.PatternAt, err = patternOf(v)
				return err
			}},
		flag("do_verify", "check after writing (1, the default)",
			func(j *Job) *bool { return &j.DoVerify }),
		flag("verify_fatal", "end at the first block that is wrong",
			func(j *Job) *bool { return &j.VerifyFatal }),
	}
}

// reporting is what is told of the job.
func reporting() []Option {
	return []Option{
		flag("group_reporting", "one report for the jobs of a group",
			func(j *Job) *bool { return &j.Grouped }),
		word("write_bw_log", "write bandwidths to NAME_bw.N.log",
			func(j *Job) *string { return &j.BWLog }),
		word("write_lat_log", "write latencies to NAME_lat.N.log and NAME_clat.N.log",
			func(j *Job) *string { return &j.LatLog }),
		word("write_iops_log", "write rates to NAME_iops.N.log",
			func(j *Job) *string { return &j.IOPSLog }),
		span("log_avg_msec", "one line of a log for so many ms", time.Millisecond,
			func(j *Job) *time.Duration { return &j.LogAverage }),
		{Name: "percentile_list", Help: "percentiles: 50:99:99.9",
			set: func(j *Job, v string) (err error) {
				j.Percentiles, err = percentilesOf(v)
				return err
			}},
		{Name: "clat_percentiles", Help: "percentiles of clat: from submission on", Flag: true,
			set: setPercentiles(func(j *Job) *bool { return &j.ClatPct })},
		{Name: "lat_percentiles", Help: "percentiles of lat: from the intended start on",
			Flag: true, set: setPercentiles(func(j *Job) *bool { return &j.LatPct })},
	}
}

func one(text string) ([]Share, error) {
	n, err := blockOf(text)
	return []Share{{Bytes: n, Weight: 1}}, err
}

func setBlocks(parse func(string) ([]Share, error)) func(*Job, string) error {
	return func(j *Job, v string) error {
		r, w, err := pair(v)
		if err != nil {
			return err
		}
		if j.Blocks[Read], err = parse(r); err != nil {
			return err
		}
		j.Blocks[Write], err = parse(w)
		return err
	}
}

func setRW(j *Job, v string) error {
	base, random := strings.CutPrefix(v, "rand")
	switch {
	case base == "read":
		j.Reads = 100
	case base == "write":
		j.Reads = 0
	case base == "rw" || base == "readwrite" && !random:
		j.Reads = 50
	case strings.Contains(v, "trim"):
		return fmt.Errorf("trim is not supported: use read, write, randread, randwrite, rw, randrw")
	default:
		return fmt.Errorf("use read, write, randread, randwrite, rw or randrw")
	}
	j.Random = random
	return nil
}

func setIOSize(j *Job, v string) error {
	n, err := bytesOf(v)
	if err == nil && n == 0 {
		err = fmt.Errorf("write more than 0")
	}
	j.IOSize = n
	return err
}

// setMix holds the mix until rw is known: the options come in any order.
func setMix(writes bool) func(*Job, string) error {
	return func(j *Job, v string) error {
		n, err := intOf(v, 0, 100)
		if writes {
			n = 100 - n
		}
		j.mix, j.mixSet = int(n), true
		return err
	}
}

func setRate(j *Job, v string) error {
	r, w, err := pair(v)
	if err != nil {
		return err
	}
	for d, text := range []string{r, w} {
		n, err := intOf(text, 1, 100_000_000)
		if err != nil {
			return fmt.Errorf("%w operations a second", err)
		}
		j.Rate[d] = float64(n)
	}
	return nil
}

func setPercentiles(to func(*Job) *bool) func(*Job, string) error {
	return func(j *Job, v string) (err error) {
		j.pctSet = true
		*to(j), err = boolOf(v)
		return err
	}
}
