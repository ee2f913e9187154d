package fio

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
)

var (
	// ErrMissing: there is no fio on this machine.
	ErrMissing = errors.New("fio: not installed: install the package fio (3.x)")
	// ErrFailed: fio ran and failed, or said nothing that can be read.
	ErrFailed = errors.New("fio: failed")
)

// saidMax bounds how much of fio's words goes into an error.
const saidMax = 400

// Job is one job of fio.
type Job struct {
	Options []string // as on its command line, without the dashes: engine, file, sync, ...
	RW      string   // randread, randwrite, write, ...
	Block   int
	Depth   int
	Size    int64
	Seconds int // time-based; 0: until Size is done
	Ramp    int // seconds before figures count
	// Each, when set, makes a job of each of its elements, with these options more; all run at
	// the same time and are reported as one.
	Each [][]string
}

// Result is what the job did; writes and reads of a mixed job together.
type Result struct {
	IOPS           float64
	BytesPerSecond float64
	Ops            int64
	P50, P99, P999 float64 // ns
	Mean           float64 // ns
}

// Find reports whether fio can be run.
func Find() error {
	if _, err := exec.LookPath("fio"); err != nil {
		return ErrMissing
	}
	return nil
}

// Run runs the job. When ctx ends fio is told to stop.
func Run(ctx context.Context, job Job) (*Result, error) {
	cmd := exec.CommandContext(ctx, "fio", job.args()...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%w: %w: %s", ErrFailed, err, tail(said.Bytes(), out.Bytes()))
	}
	return Parse(out.Bytes())
}

func (j *Job) args() []string {
	args := []string{"--name=global", "--output-format=json", "--group_reporting=1",
		"--randrepeat=0", "--norandommap=1", "--clat_percentiles=0", "--lat_percentiles=1",
		"--percentile_list=50:99:99.9", "--rw=" + j.RW, fmt.Sprintf("--bs=%d", j.Block),
		fmt.Sprintf("--iodepth=%d", j.Depth), fmt.Sprintf("--size=%d", j.Size)}
	if j.Seconds > 0 {
		args = append(args, "--time_based=1", fmt.Sprintf("--runtime=%d", j.Seconds))
	}
	if j.Ramp > 0 {
		args = append(args, fmt.Sprintf("--ramp_time=%d", j.Ramp))
	}
	args = dashed(args, j.Options)
	if len(j.Each) == 0 {
		return append(args, "--name=job")
	}
	for i, options := range j.Each {
		args = dashed(append(args, fmt.Sprintf("--name=job%d", i+1)), options)
	}
	return args
}

func dashed(args, options []string) []string {
	for _, o := range options {
		args = append(args, "--"+o)
	}
	return args
}

func tail(texts ...[]byte) string {
	for _, t := range texts {
		if t = bytes.TrimSpace(t); len(t) > 0 {
			return string(t[max(0, len(t)-saidMax):])
		}
	}
	return "it said nothing"
}

type side struct {
	TotalIOs int64   `json:"total_ios"`
	IOPS     float64 `json:"iops"`
	BW       float64 `json:"bw_bytes"`
	Lat      struct {
		Mean       float64            `json:"mean"`
		Percentile map[string]float64 `json:"percentile"`
	} `json:"lat_ns"`
}

// Parse reads fio's JSON, which may have lines of warnings before it.
func Parse(text []byte) (*Result, error) {
	var doc struct {
		Jobs []struct {
			Error       int
			Read, Write side
		} `json:"jobs"`
	}
	if i := bytes.Index(text, []byte("{")); i > 0 {
		text = text[i:]
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("%w: its output is not JSON: %w", ErrFailed, err)
	}
	if len(doc.Jobs) != 1 {
		return nil, fmt.Errorf("%w: %d jobs in its output, not 1", ErrFailed, len(doc.Jobs))
	}
	job := doc.Jobs[0]
	if job.Error != 0 {
		return nil, fmt.Errorf("%w: error %d: %w", ErrFailed, job.Error, syscall.Errno(job.Error))
	}
	main := job.Read
	if job.Write.TotalIOs > main.TotalIOs {
		main = job.Write
	}
	p := main.Lat.Percentile
	return &Result{IOPS: job.Read.IOPS + job.Write.IOPS, BytesPerSecond: job.Read.BW + job.Write.BW,
		Ops: job.Read.TotalIOs + job.Write.TotalIOs, P50: p["50.000000"], P99: p["99.000000"],
		P999: p["99.900000"], Mean: main.Lat.Mean}, nil
}
