package load

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// process is the control plane that is measured.
type process struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Scanner
	addr string
}

// begin starts it on one processor, and leaves it that one alone where there are more.
func begin(dir string, log io.Writer) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	cmd := exec.Command(self, "-serve", dir)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	cmd.Stderr = log
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	if err := alone(cmd.Start); err != nil {
		return nil, fmt.Errorf("load: start the control plane: %w", err)
	}
	p := &process{cmd: cmd, in: in, out: bufio.NewScanner(out)}
	if !p.out.Scan() {
		_ = p.end()
		return nil, fmt.Errorf("load: the control plane did not start")
	}
	p.addr = p.out.Text()
	return p, nil
}

// alone calls start on the first of this process's processors, which a process that it starts
// inherits, and keeps all threads of this one off it.
func alone(start func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return err
	}
	first := 0
	for !all.IsSet(first) {
		first++
	}
	var one unix.CPUSet
	one.Set(first)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return err
	}
	err := start()
	if all.Count() > 1 {
		all.Clear(first)
	}
	threads, _ := filepath.Glob("/proc/self/task/*")
	for _, t := range threads {
		if id, e := strconv.Atoi(filepath.Base(t)); e == nil {
			_ = unix.SchedSetaffinity(id, &all) // one may have ended
		}
	}
	return err
}

// hold is for how long its lock was held at most since this was asked last.
func (p *process) hold() (time.Duration, error) {
	if _, err := io.WriteString(p.in, "?\n"); err != nil {
		return 0, fmt.Errorf("load: the control plane is gone: %w", err)
	}
	if !p.out.Scan() {
		return 0, fmt.Errorf("load: the control plane is gone")
	}
	ns, err := strconv.ParseInt(p.out.Text(), 10, 64)
	return time.Duration(ns), err
}

// spent is the processor time that it has had.
func (p *process) spent() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("load: %w", err)
	}
	// The name is in parentheses and may have blanks; after it the 12th and 13th words are ticks
	// of a hundredth of a second, proc(5).
	words := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	user, err1 := strconv.Atoi(words[11])
	system, err2 := strconv.Atoi(words[12])
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("load: %s: %v %v", b, err1, err2)
	}
	return time.Duration(user+system) * time.Second / 100, nil
}

// peak is its memory at the most, in bytes.
func (p *process) peak() (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("load: %w", err)
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	var kib uint64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		return 0, fmt.Errorf("load: peak memory: %w", err)
	}
	return kib << 10, nil
}

func (p *process) end() error {
	p.in.Close()
	return p.cmd.Wait()
}
