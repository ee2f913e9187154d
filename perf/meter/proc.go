package meter

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of CPU time in /proc: USER_HZ is 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// CPU is the user and system time that a process has used, with its ended threads.
func CPU(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("meter: %w", err)
	}
	return parseStat(text)
}

// parseStat finds utime and stime, the 14th and 15th field. The name before them may hold anything.
func parseStat(text []byte) (time.Duration, error) {
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("meter: stat: %d fields after the name, at least 13 expected",
			len(fields))
	}
	var sum time.Duration
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("meter: stat: %w", err)
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
}

// Resident is the memory that a process has in place, in bytes.
func Resident(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, fmt.Errorf("meter: %w", err)
	}
	fields := bytes.Fields(text)
	if len(fields) < 2 {
		return 0, fmt.Errorf("meter: statm: %d fields, at least 2 expected", len(fields))
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("meter: statm: %w", err)
	}
	return pages * int64(os.Getpagesize()), nil
}

// Usage is what this process has used.
type Usage struct {
	User, System             time.Duration
	Switches                 int64 // voluntary and not
	MajorFaults, MinorFaults int64
}

// Self is the use of this process so far.
func Self() Usage {
	var r unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &r) != nil {
		return Usage{}
	}
	return Usage{User: time.Duration(r.Utime.Nano()), System: time.Duration(r.Stime.Nano()),
		Switches: r.Nvcsw + r.Nivcsw, MajorFaults: r.Majflt, MinorFaults: r.Minflt}
}

// Minus is what was used since an earlier reading.
func (u Usage) Minus(o Usage) Usage {
	return Usage{User: u.User - o.User, System: u.System - o.System,
		Switches: u.Switches - o.Switches, MajorFaults: u.MajorFaults - o.MajorFaults,
		MinorFaults: u.MinorFaults - o.MinorFaults}
}

// Busy is the CPU time that everything on the machine has used; waiting for devices is not use.
func Busy() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("meter: %w", err)
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	f := bytes.Fields(line)
	if len(f) < 8 {
		return 0, fmt.Errorf("meter: /proc/stat: %d fields, at least 8 expected", len(f))
	}
	var sum time.Duration
	for _, i := range []int{1, 2, 3, 6, 7} { // user nice system irq softirq
		n, err := strconv.ParseInt(string(f[i]), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("meter: /proc/stat: %w", err)
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
}

// Load is the load average of the last minute; 0 when the kernel does not tell.
func Load() float64 {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(text), " ")
	v, _ := strconv.ParseFloat(first, 64)
	return v
}
