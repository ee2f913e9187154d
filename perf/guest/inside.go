package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// First says whether this process is the first one of a machine that Run made.
func First() bool {
	_, err := os.Stat("/job")
	return os.Getpid() == 1 && err == nil
}

// Init is what the first process of a machine does: the job, then it powers off.
func Init() {
	report, err := start()
	if err == nil {
		err = work(report)
	}
	if err != nil {
		fmt.Fprintf(report, "guest: %v\n", err)
	} else {
		fmt.Fprintln(report, markOver)
	}
	unix.Sync()
	// What was written to the serial line must leave it.
	_ = unix.IoctlSetInt(int(report.Fd()), unix.TCSBRK, 1)
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// start makes the folders that programs expect and opens the serial line.
func start() (*os.File, error) {
	var all []error
	for _, m := range [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"},
		{"tmpfs", "/tmp"}, {"tmpfs", "/run"}} {
		all = append(all, os.MkdirAll(m[1], 0o755), unix.Mount(m[0], m[1], m[0], 0, ""))
	}
	all = append(all, os.Chmod("/tmp", 0o1777), os.MkdirAll("/dev/shm", 0o1777),
		unix.Mount("shm", "/dev/shm", "tmpfs", 0, ""),
		os.Setenv("PATH", "/bin"), os.Setenv("HOME", "/tmp"))
	f, err := os.OpenFile("/dev/ttyS1", os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return os.Stdout, errors.Join(append(all, err)...)
	}
	return f, errors.Join(all...)
}

func work(report *os.File) error {
	text, err := os.ReadFile("/job")
	if err != nil {
		return err
	}
	var job Job
	if err := json.Unmarshal(text, &job); err != nil {
		return err
	}
	for _, path := range job.Modules {
		if err := insert("/" + path); err != nil {
			return err
		}
	}
	if err := network(job); err != nil {
		return err
	}
	for _, r := range job.Runs {
		fmt.Fprintf(report, "%s%s\n", markBegin, r.Name)
		fmt.Fprintf(report, "%s%s %d\n", markEnd, r.Name, run(r, report))
	}
	return nil
}

func insert(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("module %s: %w", path, err)
	}
	return nil
}

// run runs a program and returns its status; 1 when it could not be run, or not to its end.
func run(r Run, report *os.File) int {
	ctx, cancel := context.WithTimeout(context.Background(), max(r.Time, time.Second))
	defer cancel()
	cmd := exec.CommandContext(ctx, r.Args[0], r.Args[1:]...)
	cmd.Env = append(os.Environ(), r.Env...)
	cmd.Stdout, cmd.Stderr = report, report
	cmd.Dir = "/tmp"
	if r.User != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: r.User,
			Gid: r.User}}
	}
	err := cmd.Run()
	if cmd.ProcessState != nil && cmd.ProcessState.Exited() {
		return cmd.ProcessState.ExitCode()
	}
	fmt.Fprintf(report, "guest: %s: %v %v\n", r.Name, err, ctx.Err())
	return 1
}
