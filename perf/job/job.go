package job

import (
	"errors"
	"time"
)

// ErrInvalid marks jobs that cannot be run as they are written.
var ErrInvalid = errors.New("job: invalid")

// Setting is one option as it was written.
type Setting struct {
	Name, Value string
	Where       string // file:line, or "command line"
}

// Amount is bytes, or a share of the target.
type Amount struct {
	Bytes   int64
	Percent int // 1 to 100 when given so; then Bytes is 0
}

// Share is one block size and how often it is drawn.
type Share struct{ Bytes, Weight int }

// Spread is how random offsets are drawn.
type Spread struct {
	Kind  string // random, zipf or pareto
	Theta float64
}

// Job is one section. Directions are indexed: 0 reads, 1 writes.
type Job struct {
	Name  string
	Where string
	// Global and Own are the options as they were written.
	Global, Own []Setting

	Random   bool
	Reads    int // percent of operations that read
	Blocks   [2][]Share
	Size     Amount
	IOSize   int64
	Offset   Amount
	Step     int64 // offset_increment
	Depth    int
	Clones   int
	Grouped  bool
	Wait     bool // stonewall
	NewGroup bool

	Runtime, Ramp, Think time.Duration
	TimeBased            bool
	Ops                  int64
	Rate                 [2]float64
	Poisson              bool

	Engine         string
	File, URI      string
	Volume         string
	Endpoint, Data string
	Direct         bool
	Sync           string // none, sync or dsync

	Spread     Spread
	Seed       uint64
	Repeatable bool
	NoMap      bool

	Fsync, Fdatasync int
	EndFsync         bool

	Verify      string // none, crc32c or pattern
	Pattern     []byte
	PatternAt   int // where in Pattern the offset goes; -1: nowhere
	DoVerify    bool
	VerifyFatal bool

	BWLog, LatLog, IOPSLog string
	LogAverage             time.Duration

	Percentiles    []float64
	ClatPct        bool
	LatPct         bool
	mix            int
	mixSet, pctSet bool
}

// Read and Write index the directions.
const (
	Read  = 0
	Write = 1
)

// Has reports whether the job has operations of a direction.
func (j *Job) Has(direction int) bool {
	if direction == Read {
		return j.Reads > 0
	}
	return j.Reads < 100
}

// OpenLoop reports whether operations have a time to begin at.
func (j *Job) OpenLoop() bool { return j.Rate[Read] > 0 || j.Rate[Write] > 0 }

// defaultSeed is fio's for randrepeat=1; ours need only be the same in every run.
const defaultSeed = 0x89

func defaults() Job {
	one := []Share{{Bytes: 4096, Weight: 1}}
	return Job{Reads: 100, Blocks: [2][]Share{one, one}, Depth: 1, Clones: 1, Engine: "",
		Sync: "none", Spread: Spread{Kind: "random"}, Seed: defaultSeed, Repeatable: true,
		Verify: "none", PatternAt: -1, DoVerify: true, ClatPct: true,
		Percentiles: []float64{1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99, 99.5, 99.9,
			99.95, 99.99}}
}
