package meter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Counts are what a process did while a Counter watched.
type Counts struct {
	Syscalls, Switches uint64
}

// Counter counts the system calls and context switches of processes, threads they make later
// included.
type Counter struct {
	fds map[int][2][]int // pid -> descriptors of both kinds
}

const sysEnter = "events/raw_syscalls/sys_enter/id"

// NewCounter begins to count for the processes.
func NewCounter(pids []int) (*Counter, error) {
	id, err := tracepointID()
	if err != nil {
		return nil, err
	}
	c := &Counter{fds: map[int][2][]int{}}
	attrs := [2]unix.PerfEventAttr{
		{Type: unix.PERF_TYPE_TRACEPOINT, Config: id, Bits: unix.PerfBitInherit},
		{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CONTEXT_SWITCHES,
			Bits: unix.PerfBitInherit},
	}
	for _, pid := range pids {
		var fds [2][]int
		for kind := range attrs {
			attrs[kind].Size = uint32(unix.PERF_ATTR_SIZE_VER1)
			if fds[kind], err = openThreads(pid, &attrs[kind]); err != nil {
				c.Close()
				return nil, err
			}
		}
		c.fds[pid] = fds
	}
	return c, nil
}

// openThreads opens an event for every thread of a process; those that end meanwhile are left out.
func openThreads(pid int, attr *unix.PerfEventAttr) (fds []int, err error) {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil, fmt.Errorf("meter: %w", err)
	}
	for _, t := range tasks {
		tid, _ := strconv.Atoi(t.Name())
		fd, err := unix.PerfEventOpen(attr, tid, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
		if errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			closeAll(fds)
			return nil, fmt.Errorf("meter: counting system calls: %w: needs root or CAP_PERFMON",
				err)
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

// tracepointID reads the number of the tracepoint, from a mount of its own where there is none.
func tracepointID() (uint64, error) {
	for _, dir := range []string{"/sys/kernel/tracing", "/sys/kernel/debug/tracing"} {
		if text, err := os.ReadFile(filepath.Join(dir, sysEnter)); err == nil {
			return strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
		}
	}
	dir, err := os.MkdirTemp("", "tracefs")
	if err != nil {
		return 0, fmt.Errorf("meter: %w", err)
	}
	defer os.Remove(dir)
	if err := unix.Mount("none", dir, "tracefs", 0, ""); err != nil {
		return 0, fmt.Errorf("meter: counting system calls: tracefs: %w: needs root", err)
	}
	defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	text, err := os.ReadFile(filepath.Join(dir, sysEnter))
	if err != nil {
		return 0, fmt.Errorf("meter: counting system calls: %w", err)
	}
	return strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
}

// Read returns the counts so far.
func (c *Counter) Read() (map[int]Counts, error) {
	out := map[int]Counts{}
	for pid, fds := range c.fds {
		var sums [2]uint64
		for kind := range fds {
			for _, fd := range fds[kind] {
				var b [8]byte
				if _, err := unix.Read(fd, b[:]); err != nil {
					return nil, fmt.Errorf("meter: counting system calls: %w", err)
				}
				sums[kind] += binary.LittleEndian.Uint64(b[:])
			}
		}
		out[pid] = Counts{Syscalls: sums[0], Switches: sums[1]}
	}
	return out, nil
}

// Close ends counting.
func (c *Counter) Close() {
	for _, fds := range c.fds {
		closeAll(fds[0])
		closeAll(fds[1])
	}
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}
