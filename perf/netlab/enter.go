package netlab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// inside marks a process that was started in a namespace of its own.
const inside = "ASHLAR_NETLAB"

// enter is a command that runs another one in network and mount namespaces of its own, with a
// loopback: names of network namespaces are mounts, and go with it.
var enter = []string{"unshare", "--net", "--mount", "sh", "-c",
	`mkdir -p /run/netns && mount -t tmpfs none /run/netns && ip link set lo up && exec "$@"`,
	"sh"}

// Run gives the exit status of run, which it runs in a network namespace of its own: it starts this
// program again there, with the same arguments, and waits. Where that is not allowed run runs where
// it is, and New fails. It is for a TestMain, whose m.Run is run.
func Run(run func() int) int {
	allowed := exec.Command(enter[0], append(enter[1:], "true")...).Run() == nil
	if os.Getenv(inside) != "" || !allowed {
		return run()
	}
	runtime.LockOSThread() // the child dies with this thread
	cmd := exec.Command(enter[0], append(enter[1:], os.Args...)...)
	cmd.Env = append(os.Environ(), inside+"=yes")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return exit.ExitCode()
	}
	fmt.Fprintln(os.Stderr, "netlab:", err)
	return 1
}
