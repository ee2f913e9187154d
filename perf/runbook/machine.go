package runbook

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// ErrStep marks a block that did not do what its page says.
var ErrStep = errors.New("runbook: the page is wrong")

// Network is what machines are on, as netlab.Lab is.
type Network interface {
	Addrs(name string, n int) ([]string, error)
	Wrap(name string, argv []string) []string
}

// Machine is one machine, with a shell that blocks are typed into.
type Machine struct {
	Name string

	dir   string
	net   Network
	disks []string
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	off   atomic.Bool
}

// boot makes the machine's file system and becomes its first process, a shell. $1 is the machine's
// directory, $2 its name, $3 this program, which is its systemctl; the others are disks.
const boot = `set -e
dir=$1 self=$3
hostname "$2"
shift 3
mount --make-rprivate /
mkdir -p "$dir/upper" "$dir/work" "$dir/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" "$dir/root"
mount -t proc proc "$dir/root/proc"
mount --rbind /sys "$dir/root/sys"
mount --rbind /dev "$dir/root/dev"
mount -t tmpfs tmpfs "$dir/root/run"
for disk; do
	mkdir -p "$dir/$disk" "$dir/root/var/lib/ashlar/$disk"
	mount --bind "$dir/$disk" "$dir/root/var/lib/ashlar/$disk"
done
mkdir -p "$dir/root/usr/local/sbin"
ln -sf "$self" "$dir/root/usr/local/sbin/systemctl"
cd /
exec chroot "$dir/root" /bin/bash --norc --noprofile
`

// NewMachine makes a machine that is off. What it writes lies below dir. Disks are directories that
// it has as /var/lib/ashlar/NAME.
func NewMachine(name, dir string, net Network, disks ...string) *Machine {
	return &Machine{Name: name, dir: dir, net: net, disks: disks}
}

// PowerOn starts the machine, with what it wrote before. Nothing runs on it.
func (m *Machine) PowerOn() error {
	if _, err := m.net.Addrs(m.Name, 1); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	argv := []string{"unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child=KILL",
		"bash", "-c", boot, "boot", m.dir, m.Name, self}
	argv = m.net.Wrap(m.Name, append(argv, m.disks...))
	m.cmd = exec.Command(argv[0], argv[1:]...)
	m.cmd.Env = []string{"HOME=/root", "LC_ALL=C", "TERM=dumb", "PATH=/usr/local/sbin:" +
		"/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	if m.in, err = m.cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	m.cmd.Stderr = m.cmd.Stdout
	m.out = bufio.NewReaderSize(out, outputMax)
	if err := m.cmd.Start(); err != nil {
		return err
	}
	m.off.Store(false)
	_, err = m.Type(context.Background(), "cd /root")
	return err
}

// PowerOff ends every process of the machine at once, as a power cut does but for its disks'
// caches.
func (m *Machine) PowerOff() error {
	if m.cmd == nil || m.off.Swap(true) {
		return nil
	}
	// The first process of a process namespace takes all others with it.
	err := m.cmd.Process.Kill()
	_ = m.cmd.Wait() // killed
	return err
}

// Command is a command of the machine beside its shell.
func (m *Machine) Command(script string) *exec.Cmd {
	// The shell is the one child of unshare, and has the machine's namespaces and root.
	argv := []string{"bash", "-c", `exec nsenter --target "$(pgrep -P "$0")" --all --root --wd ` +
		`bash -c "$1"`, strconv.Itoa(m.cmd.Process.Pid), script}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = m.cmd.Env
	return cmd
}

// Type types lines into the machine's shell and gives what they print. Variables and the directory
// stay for what is typed later. The error names the first command that failed.
func (m *Machine) Type(ctx context.Context, script string) (output string, err error) {
	if m.off.Load() {
		return "", fmt.Errorf("runbook: %s is off", m.Name)
	}
	mark := "end-of-block-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	ctx, cancel := context.WithTimeout(ctx, blockTime)
	defer cancel()
	late := context.AfterFunc(ctx, func() { _ = m.PowerOff() })
	defer late()
	const quiet = "</dev/null 2>&1"
	_, err = fmt.Fprintf(m.in, "failed=; trap 'failed=\"${failed:-$? $BASH_COMMAND}\"' ERR\n"+
		"{ eval %s\n} %s\ntrap - ERR; echo; echo %s \"$failed\"\n", quoted(script), quiet, mark)
	if err != nil {
		return "", fmt.Errorf("runbook: %s: %w", m.Name, err)
	}
	var b strings.Builder
	for {
		line, err := m.out.ReadString('\n')
		if rest, ended := strings.CutPrefix(line, mark); ended {
			failed := strings.TrimSpace(rest)
			output = strings.TrimSuffix(b.String(), "\n")
			if failed != "" {
				return output, fmt.Errorf("%w: status %s", ErrStep, failed)
			}
			return output, nil
		}
		b.WriteString(line)
		if err != nil {
			return b.String(), fmt.Errorf("runbook: %s ended: %w", m.Name,
				errors.Join(err, ctx.Err()))
		}
		if b.Len() > outputMax {
			kept := b.String()[b.Len()-outputMax/2:]
			b.Reset()
			b.WriteString(kept)
		}
	}
}

// quoted is a word of the shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// Run does what a step of a page says, on its machines at once: some daemons are ready only when
// those of others are. The output is that of the last.
func Run(ctx context.Context, s *Step, machines map[string]*Machine) (output string, err error) {
	var all sync.WaitGroup
	outputs, errs := make([]string, len(s.On)), make([]error, len(s.On))
	for i, name := range s.On {
		m := machines[name]
		if m == nil {
			return "", fmt.Errorf("%w: line %d: there is no machine %s", ErrPage, s.Line, name)
		}
		all.Go(func() {
			if outputs[i], errs[i] = s.onto(ctx, m); errs[i] != nil {
				errs[i] = fmt.Errorf("line %d, on %s: %w\n%s--- prints\n%s", s.Line, name, errs[i],
					s.Script, outputs[i])
			}
		})
	}
	all.Wait()
	return outputs[len(outputs)-1], errors.Join(errs...)
}

// onto types the step until it succeeds, or may not any more.
func (s *Step) onto(ctx context.Context, m *Machine) (output string, err error) {
	for end := time.Now().Add(s.Within); ; {
		output, err = m.Type(ctx, s.Script)
		if line := Missing(s.Shows, output); err == nil && line != "" {
			err = fmt.Errorf("%w: it does not show %q", ErrStep, line)
		}
		if err == nil || ctx.Err() != nil || m.off.Load() || time.Now().After(end) {
			return output, err
		}
		time.Sleep(retryPause)
	}
}
