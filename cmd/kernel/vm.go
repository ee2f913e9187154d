package main

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

//go:embed guest.sh
var guestScript []byte

// guestFine is the last line of guest.sh when all went well.
const guestFine = "guest: ok"

// workshop is the folder of a run and what lies in it.
type workshop struct{ dir string }

func (w workshop) base() string     { return filepath.Join(w.dir, "base.img") }
func (w workshop) disk() string     { return filepath.Join(w.dir, "disk.img") }
func (w workshop) recorded() string { return filepath.Join(w.dir, "recorded.log") }

// needed are the programs without which there is no lane, and the package that has them.
var needed = [][2]string{{"linux.uml", "user-mode-linux"}, {"dmsetup", "dmsetup"},
	{"mkfs.ext4", "e2fsprogs"}, {"e2fsck", "e2fsprogs"}, {"mount", "mount"}}

// fit says what is missing on this machine.
func fit() error {
	var all []error
	for _, n := range needed {
		if _, err := exec.LookPath(n[0]); err != nil {
			all = append(all, fmt.Errorf("kernel: no %s here: install the package %s", n[0], n[1]))
		}
	}
	if os.Geteuid() != 0 {
		all = append(all, errors.New("kernel: mounting needs root: run as root"))
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		all = append(all, fmt.Errorf("kernel: no loop devices here (modprobe loop, or a container "+
			"without them): %w", err))
	}
	return errors.Join(all...)
}

// prepare makes the disks: an empty file system, a copy to write to, room for the log.
func (w workshop) prepare() error {
	if err := makeFile(w.base(), imageBytes); err != nil {
		return err
	}
	if err := run("mkfs.ext4", "-q", "-b", "4096", "-E",
		"nodiscard,lazy_itable_init=0,lazy_journal_init=0", w.base()); err != nil {
		return err
	}
	image, err := os.ReadFile(w.base())
	if err != nil {
		return err
	}
	if err := os.WriteFile(w.disk(), image, 0o600); err != nil {
		return err
	}
	return makeFile(w.recorded(), logBytes)
}

func makeFile(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close())
}

// boot runs the workload in the virtual machine, which powers off by itself.
func (w workshop) boot(program string, seed uint64, ops int) error {
	script := filepath.Join(w.dir, "init")
	line := fmt.Sprintf("\nset -- %s guest /mnt/disk %d %d\n", strconv.Quote(program), seed, ops)
	text := strings.Replace(string(guestScript), "\n", line, 1)
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), guestTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "linux.uml", "mem=384M", "rootfstype=hostfs", "rootflags=/",
		"ro", "init="+script, "ubd0="+w.disk(), "ubd1="+w.recorded(), "con=null",
		"con0=null,fd:1", "quiet")
	cmd.Env = append(os.Environ(), "TMPDIR="+memoryDir(w.dir))
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("kernel: linux.uml: %w", err)
	}
	fine := false
	var said []string // for a failure: the kernel says a lot that nobody needs
	for lines := bufio.NewScanner(out); lines.Scan(); {
		text := strings.TrimRight(lines.Text(), "\r")
		fine = fine || text == guestFine
		if strings.HasPrefix(text, "guest: ") {
			fmt.Println("  " + text)
		} else if len(said) < guestLines {
			said = append(said, "  "+text)
		}
	}
	err = cmd.Wait()
	if ctx.Err() != nil {
		return fmt.Errorf("kernel: the virtual machine did not end within %v", guestTime)
	}
	if !fine {
		fmt.Println(strings.Join(said, "\n"))
		return fmt.Errorf("kernel: the workload failed in the virtual machine (its end: %v)", err)
	}
	return nil
}

// memoryDir is where files live in memory, if the machine has such a folder with enough room.
func memoryDir(otherwise string) string {
	const shm = "/dev/shm"
	var st unix.Statfs_t
	if err := unix.Statfs(shm, &st); err == nil && st.Type == unix.TMPFS_MAGIC &&
		int64(st.Bavail)*st.Bsize >= memoryBytes {
		return shm
	}
	return otherwise
}

// load puts a module into the running kernel: what insmod does, which is not everywhere.
func load(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil {
		return fmt.Errorf("kernel: module %s: %w", path, err)
	}
	return nil
}
