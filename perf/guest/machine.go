package guest

import (
	"bufio"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Machine is a virtual machine and what it does.
type Machine struct {
	Kernel *Kernel
	Memory int // MiB
	CPUs   int
	// Files are files of this machine by their names in the virtual one, without a leading slash.
	Files map[string]string
	Job   Job
	// Socket, if set, joins two machines: the interface eth0 of each is the end of a cable. One of
	// them, with Plug, makes the socket and must be there first.
	Socket string
	Plug   bool
}

// Job is what a machine does, in this order.
type Job struct {
	Modules []string // made by Run
	// Interface gets the address and the soft RDMA card.
	Interface string
	Address   string // with the length of its prefix: "10.9.0.1/24"
	Runs      []Run
}

// Run is a program with its arguments.
type Run struct {
	Name string
	Args []string
	Env  []string
	// User runs it, 0 is root.
	User uint32
	Time time.Duration
}

// Marks of the serial line, each the beginning of a line.
const (
	markBegin = "@@begin "
	markEnd   = "@@end "
	markOver  = "@@over"
)

// ErrFailed: the machine ran and what it ran failed, or it did not come to its end.
var ErrFailed = errors.New("guest: failed")

// Run boots the machine and calls line for everything its runs print, and their marks. It returns
// when the machine is gone; nil if every run ended with status 0.
func (m Machine) Run(ctx context.Context, line func(run, text string)) error {
	dir, err := os.MkdirTemp("", "ashlar-guest-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := m.pack(filepath.Join(dir, "initrd")); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", m.options(dir)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("guest: qemu: %w", err)
	}
	failed, over := m.follow(out, line, func() { time.AfterFunc(powerOffTime, cancel) })
	err = cmd.Wait()
	if len(failed) == 0 && over {
		return nil
	}
	kernel, _ := os.ReadFile(filepath.Join(dir, "kernel"))
	said := strings.Split(strings.TrimSpace(string(kernel)), "\n")
	said = said[max(0, len(said)-kernelLines):]
	return fmt.Errorf("%w: %s (over: %v, qemu: %v, %v); the kernel's last lines:\n%s", ErrFailed,
		strings.Join(failed, ", "), over, err, ctx.Err(), strings.Join(said, "\n"))
}

// follow reads the serial line to its end.
func (m Machine) follow(out io.Reader, line func(run, text string),
	ending func()) (failed []string, over bool) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, lineBytes)
	now := ""
	ended := 0
	for lines.Scan() {
		text := strings.TrimRight(lines.Text(), "\r")
		switch {
		case strings.HasPrefix(text, markBegin):
			now = strings.TrimPrefix(text, markBegin)
		case strings.HasPrefix(text, markEnd):
			ended++
			if text != markEnd+now+" 0" {
				failed = append(failed, strings.TrimPrefix(text, markEnd))
			}
		case text == markOver:
			over = ended == len(m.Job.Runs)
			ending()
		}
		line(now, text)
	}
	return failed, over
}

// options are qemu's. The second serial line is for the runs, the first for the kernel.
func (m Machine) options(dir string) []string {
	net := []string{"-nic", "none"}
	if m.Socket != "" {
		end, mac := "off", "52:54:00:00:00:02"
		if m.Plug {
			end, mac = "on", "52:54:00:00:00:01"
		}
		net = []string{"-netdev", "stream,id=cable,addr.type=unix,addr.path=" + m.Socket +
			",server=" + end, "-device", "virtio-net-pci,netdev=cable,mac=" + mac + ",romfile="}
	}
	return append(net, "-M", "pc", "-accel", "tcg,thread=multi", "-cpu", "max",
		"-smp", strconv.Itoa(max(m.CPUs, 1)), "-m", strconv.Itoa(m.Memory), "-nodefaults",
		"-display", "none", "-no-reboot", "-serial", "file:"+filepath.Join(dir, "kernel"),
		"-serial", "stdio", "-kernel", m.Kernel.Image, "-initrd", filepath.Join(dir, "initrd"),
		"-append", "console=ttyS0 panic=-1 mitigations=off nokaslr random.trust_cpu=on")
}

// pack writes the initial file system: this very program as the first process, modules, files, job.
func (m Machine) pack(to string) error {
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	a := newArchive(f)
	self, err := os.Executable()
	if err == nil {
		err = errors.Join(static(self), a.file("init", self))
	}
	job := m.Job
	for _, mod := range m.Kernel.Modules {
		name := "modules/" + filepath.Base(mod.Path)
		job.Modules = append(job.Modules, name)
		err = errors.Join(err, a.file(name, mod.Path))
	}
	for _, name := range slices.Sorted(maps.Keys(m.Files)) {
		err = errors.Join(err, static(m.Files[name]), a.file(name, m.Files[name]))
	}
	text, wrong := json.Marshal(job)
	return errors.Join(err, wrong, a.text("job", string(text)), a.close(), f.Close())
}

// static refuses a program that needs a loader, which the machine has not.
func static(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("guest: %s: %w", path, err)
	}
	defer f.Close()
	if f.Section(".interp") != nil {
		return fmt.Errorf("guest: %s is not static: build it with CGO_ENABLED=0, or link it so",
			path)
	}
	return nil
}
