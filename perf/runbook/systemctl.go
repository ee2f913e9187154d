package runbook

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// systemctlName is the name under which this program is systemctl, keeperName the one under which
// it keeps a unit.
const (
	systemctlName = "systemctl"
	keeperName    = "ashlar-unit-keeper"
)

// runFolder has for each unit that runs the number of its keeper, and its socket for readiness;
// logFolder its output.
const (
	runFolder = "/run/units"
	logFolder = "/var/log"
)

// Systemctl gives the exit status of this program when it was started as a machine's systemctl; ok
// is false when it was not. Call it first in TestMain.
func Systemctl(args []string) (status int, ok bool) {
	var err error
	switch filepath.Base(args[0]) {
	case systemctlName:
		err = systemctl(args[1:])
	case keeperName:
		err = keep(args[1])
	default:
		return 0, false
	}
	var code exitStatus
	if errors.As(err, &code) {
		return int(code), true
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "systemctl:", err)
		return 1, true
	}
	return 0, true
}

type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("status %d", int(e)) }

func systemctl(args []string) error {
	var verb, sig string
	var units []string
	now := false
	for i := 0; i < len(args); i++ {
		switch arg := args[i]; {
		case arg == "--now":
			now = true
		case arg == "-s" && i+1 < len(args):
			i++
			sig = args[i]
		case strings.HasPrefix(arg, "--signal="):
			sig = strings.TrimPrefix(arg, "--signal=")
		case strings.HasPrefix(arg, "-"):
			return fmt.Errorf("option %s is not known here", arg)
		case verb == "":
			verb = arg
		default:
			units = append(units, strings.TrimSuffix(arg, ".service"))
		}
	}
	for _, name := range units {
		if err := do(verb, name, sig, now); err != nil {
			return err
		}
	}
	if verb != "daemon-reload" && len(units) == 0 {
		return fmt.Errorf("%q: no unit is named", verb)
	}
	return nil
}

func do(verb, name, sig string, now bool) error {
	switch verb {
	case "enable":
		if _, err := findUnit(name); err != nil || !now {
			return err
		}
		return start(name)
	case "disable":
		if now {
			return stop(name)
		}
		return nil
	case "start":
		return start(name)
	case "stop":
		return stop(name)
	case "restart":
		return errors.Join(stop(name), start(name))
	case "is-active":
		if keeperOf(name) == 0 {
			fmt.Println("inactive")
			return exitStatus(3)
		}
		fmt.Println("active")
		return nil
	case "kill":
		return kill(name, sig)
	}
	return fmt.Errorf("verb %q is not known here", verb)
}

func runFile(name, what string) string { return filepath.Join(runFolder, name+"."+what) }

// keeperOf is the process that keeps a unit; 0: it does not run.
func keeperOf(name string) int { return processIn(runFile(name, "keeper")) }

func processIn(file string) int {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || unix.Kill(pid, 0) != nil {
		return 0
	}
	return pid
}

// start has a keeper for the unit, and waits until that says that it is ready.
func start(name string) error {
	if keeperOf(name) != 0 {
		return nil
	}
	if _, err := findUnit(name); err != nil {
		return err
	}
	if err := os.MkdirAll(runFolder, 0o755); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(logFolder, name+".log"),
		os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	keeper := exec.Command(self, name)
	keeper.Args[0] = keeperName
	keeper.Stderr = log
	keeper.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	said, err := keeper.StdoutPipe()
	if err != nil {
		return err
	}
	if err := keeper.Start(); err != nil {
		return err
	}
	answer, err := io.ReadAll(io.LimitReader(said, 1<<10))
	if err != nil {
		return err
	}
	if string(answer) != "ready" {
		return fmt.Errorf("%s did not start: %s; see %s", name, answer, log.Name())
	}
	return nil
}

// stop ends the unit's keeper, which ends its process.
func stop(name string) error {
	pid := keeperOf(name)
	if pid == 0 {
		return nil
	}
	if err := unix.Kill(pid, unix.SIGTERM); err != nil {
		return err
	}
	for end := time.Now().Add(stopTime + 5*time.Second); keeperOf(name) != 0; {
		if time.Sleep(20 * time.Millisecond); time.Now().After(end) {
			return fmt.Errorf("%s does not stop", name)
		}
	}
	return nil
}

func kill(name, sig string) error {
	if sig == "" {
		sig = "TERM"
	}
	number := unix.SignalNum("SIG" + strings.TrimPrefix(sig, "SIG"))
	pid := processIn(runFile(name, "process"))
	if pid == 0 || number == 0 {
		return fmt.Errorf("kill -s %s %s: no such process or signal", sig, name)
	}
	return unix.Kill(pid, number)
}

// keep runs a unit's process, and runs it again as the unit says, until SIGTERM. It says "ready" to
// its output once, or why not.
func keep(name string) error {
	u, err := findUnit(name)
	if err != nil {
		return err
	}
	own := runFile(name, "keeper")
	if err := os.WriteFile(own, []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil {
		return err
	}
	defer os.Remove(own)
	stopped := make(chan os.Signal, 1)
	signal.Notify(stopped, unix.SIGTERM)
	ready, err := u.readiness()
	if err != nil {
		return err
	}
	k := &keeper{unit: u, stopped: stopped, ready: ready}
	return k.run()
}

type keeper struct {
	*unit
	stopped <-chan os.Signal
	ready   <-chan struct{}
	said    bool
}

// say answers who started the unit.
func (k *keeper) say(text string) {
	if !k.said {
		k.said = true
		fmt.Print(text)
		os.Stdout.Close()
	}
}

func (k *keeper) run() error {
	var starts []time.Time
	for {
		state, err := k.once()
		if err != nil {
			k.say(err.Error())
			return err
		}
		if state == nil || !k.again(state) {
			k.say(fmt.Sprint("it ended: ", state))
			return nil
		}
		fmt.Fprintf(os.Stderr, "%s: %v: it is started again\n", k.name, state)
		starts = append(starts, time.Now())
		if n := len(starts) - startsMax; n >= 0 && time.Since(starts[n]) < startsSpan {
			k.say("it ends again and again")
			return fmt.Errorf("%s ends again and again", k.name)
		}
		select {
		case <-time.After(k.pause):
		case <-k.stopped:
			return nil
		}
	}
}

// once runs the process to its end; the state is nil when it was stopped.
func (k *keeper) once() (*os.ProcessState, error) {
	owner, err := k.credential()
	if err != nil {
		return nil, err
	}
	if err := k.prepare(owner); err != nil {
		return nil, err
	}
	cmd := k.command(k.start, owner)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	file := runFile(k.name, "process")
	if err := os.WriteFile(file, []byte(strconv.Itoa(cmd.Process.Pid)), 0o644); err != nil {
		return nil, err
	}
	defer os.Remove(file)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if !k.notify {
		k.say("ready")
	}
	late := time.After(readyTime)
	for {
		select {
		case <-k.ready:
			k.say("ready")
		case <-late:
			if k.notify && !k.said {
				_ = cmd.Process.Kill()
				return nil, errors.Join(fmt.Errorf("not ready within %v", readyTime), <-ended)
			}
		case <-ended:
			return cmd.ProcessState, nil
		case <-k.stopped:
			end(cmd.Process, ended)
			return nil, nil
		}
	}
}

// end stops a process, and kills it when it does not.
func end(p *os.Process, ended <-chan error) {
	_ = p.Signal(unix.SIGTERM)
	select {
	case <-ended:
	case <-time.After(stopTime):
		_ = p.Kill()
		<-ended
	}
}

// prepare runs what the unit runs first.
func (k *keeper) prepare(owner *syscall.Credential) error {
	for _, argv := range k.before {
		if err := k.command(argv, owner).Run(); err != nil {
			return fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
		}
	}
	return nil
}

func (k *keeper) command(argv []string, owner *syscall.Credential) *exec.Cmd {
	argv = k.expand(argv)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: owner}
	cmd.Env = append(os.Environ(), k.environment...)
	if k.notify {
		cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+runFile(k.name, "notify"))
	}
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr // the log
	return cmd
}

// readiness gives what the process says to its notify socket.
func (u *unit) readiness() (<-chan struct{}, error) {
	ready := make(chan struct{}, 1)
	if !u.notify {
		return ready, nil
	}
	path := runFile(u.name, "notify")
	_ = os.Remove(path)
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o777); err != nil { // its user is another
		return nil, err
	}
	go func() {
		text := make([]byte, 4<<10)
		for {
			n, err := socket.Read(text)
			if err != nil {
				return
			}
			for line := range strings.SplitSeq(string(text[:n]), "\n") {
				if line == "READY=1" {
					select {
					case ready <- struct{}{}:
					default:
					}
				}
			}
		}
	}()
	return ready, nil
}
