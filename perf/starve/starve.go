package starve

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// ErrUnable: there is no control group of processor time on this machine that may be used.
var ErrUnable = errors.New("starve: cannot limit processor time")

// period is in which the share is given, in us: the process runs a little, then not for long.
const period = 100_000

// hierarchy is a mounted tree of control groups that can limit processor time.
type hierarchy struct {
	root string
	v2   bool
}

// find looks for the tree among what is mounted.
func find() (*hierarchy, error) {
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnable, err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) < 4 {
			continue
		}
		h := &hierarchy{root: f[1], v2: f[2] == "cgroup2"}
		v1 := f[2] == "cgroup" && slices.Contains(strings.Split(f[3], ","), "cpu")
		if v1 || h.v2 && h.enable() {
			return h, nil
		}
	}
	return nil, fmt.Errorf("%w: no mounted control group has the cpu controller", ErrUnable)
}

// enable lets groups of the second version limit processor time.
func (h *hierarchy) enable() bool {
	have, err := os.ReadFile(filepath.Join(h.root, "cgroup.controllers"))
	if err != nil || !slices.Contains(strings.Fields(string(have)), "cpu") {
		return false
	}
	return os.WriteFile(filepath.Join(h.root, "cgroup.subtree_control"), []byte("+cpu"), 0) == nil
}

// group is the path of the group, below the root, that a process is in.
func (h *hierarchy) group(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", err
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		f := strings.SplitN(line, ":", 3)
		if len(f) == 3 && (h.v2 && f[1] == "" || slices.Contains(strings.Split(f[1], ","), "cpu")) {
			return f[2], nil
		}
	}
	return "", fmt.Errorf("%w: process %d is in no group", ErrUnable, pid)
}

func (h *hierarchy) limit(dir string, percent int) error {
	quota := strconv.Itoa(period / 100 * percent)
	if h.v2 {
		return os.WriteFile(filepath.Join(dir, "cpu.max"),
			[]byte(quota+" "+strconv.Itoa(period)), 0)
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "cpu.cfs_period_us"), []byte(strconv.Itoa(period)), 0),
		os.WriteFile(filepath.Join(dir, "cpu.cfs_quota_us"), []byte(quota), 0))
}

// move puts a process, with all its threads, into a group. One that has ended is as good.
func (h *hierarchy) move(pid int, dir string) error {
	err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

// Starve leaves a process so many percent of one processor, until feed. It fails with ErrUnable
// where nobody can.
func Starve(pid, percent int) (feed func() error, err error) {
	h, err := find()
	if err != nil {
		return nil, err
	}
	was, err := h.group(pid)
	if err != nil {
		return nil, fmt.Errorf("starve: process %d: %w", pid, err)
	}
	dir := filepath.Join(h.root, fmt.Sprintf("ashlar-starved-%d", pid))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnable, err)
	}
	feed = func() error {
		err := errors.Join(h.move(pid, filepath.Join(h.root, was)), os.Remove(dir))
		if err != nil {
			return fmt.Errorf("starve: process %d is still starved: %w", pid, err)
		}
		return nil
	}
	if err = h.limit(dir, percent); err == nil {
		err = h.move(pid, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnable, errors.Join(err, feed()))
	}
	return feed, nil
}
