package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/config"
	"github.com/ashlar-storage/ashlar/cmd/ashlar/datadir"
	"github.com/ashlar-storage/ashlar/cmd/ashlar/supervise"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

const (
	controlID, gatewayID = "control", "gateway"
	storeDir             = "store0" // of each node

	logBytesMax   = 16 << 20 // a larger log is set aside when its process starts
	lastWordsTail = 4 << 10
	probeTimeout  = time.Second
	pollEvery     = 50 * time.Millisecond
	announceEvery = time.Second
	blockSize     = 4096 // volumes are whole blocks
)

func (u *upRun) children() []supervise.Child {
	list := []supervise.Child{{Role: supervise.Control, ID: controlID},
		{Role: supervise.Gateway, ID: gatewayID}}
	for _, n := range u.dir.Layout.Nodes {
		list = append(list, supervise.Child{Role: supervise.Node, ID: n.Name})
	}
	return list
}

func (u *upRun) confName(id string) string {
	return filepath.Join(u.dir.Path, "conf", id+".yaml")
}

func (u *upRun) logName(id string) string {
	return filepath.Join(u.dir.Path, "log", id+".log")
}

// writeSettings writes one file for each process, in the form that `ashlar ROLE run` reads.
func (u *upRun) writeSettings() error {
	l := u.dir.Layout
	logs := config.Log{Level: firstOf(u.logLevel, "info"), Format: firstOf(u.logForm, "text")}
	control := config.DefaultControl()
	control.Listen, control.Admin.Addr, control.Log = l.Control, l.Admin, logs
	control.Data = filepath.Join(u.dir.Path, "control")
	control.MinNodes = len(l.Nodes)
	control.Replicas = min(control.Replicas, len(l.Nodes))
	gateway := config.DefaultGateway()
	gateway.Name, gateway.Control, gateway.Log = gatewayID, l.Control, logs
	gateway.Listen, gateway.Socket = l.Gateway.Listen, l.Gateway.Socket
	files := map[string]config.File{controlID: &control, gatewayID: &gateway}
	for _, n := range l.Nodes {
		node := config.DefaultNode()
		node.Name, node.Zone, node.Listen, node.Control, node.Log = n.Name, n.Name, n.Listen,
			l.Control, logs
		node.AllowVolatileCache, node.Admin.Addr = l.AllowVolatileCache, n.Admin
		node.LocalSocket = u.flags.sockets
		node.Stores = []string{filepath.Join(u.dir.Path, "nodes", n.Name, storeDir)}
		files[n.Name] = &node
	}
	for id, f := range files {
		if err := f.Check(); err != nil {
			return err
		}
		text, err := config.Render(f)
		if err == nil {
			err = datadir.WriteFile(u.confName(id), text)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// launch makes the command of a process: in a group of its own, so that Ctrl-C reaches only the
// supervisor, with the lifeline and the lock of the directory, and its log as standard error.
func (u *upRun) launch(c supervise.Child) (*exec.Cmd, func(), error) {
	log, err := openLog(u.logName(c.ID))
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.Command(u.self, c.Role.String(), "run", "--supervised", "--config",
		u.confName(c.ID))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = u.dir.Path
	cmd.ExtraFiles = []*os.File{u.lifeline, u.dir.Lock()}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd, func() { log.Close() }, nil
}

// openLog opens a log for appending and sets a large one aside.
func openLog(name string) (*os.File, error) {
	if st, err := os.Stat(name); err == nil && st.Size() > logBytesMax {
		if err := os.Rename(name, name+".1"); err != nil {
			return nil, fmt.Errorf("up: %w", err)
		}
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("up: %w", err)
	}
	return f, nil
}

// lastWords returns the last line that a process wrote, and where to read more.
func (u *upRun) lastWords(c supervise.Child) string {
	f, err := os.Open(u.logName(c.ID))
	if err != nil {
		return ""
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Size() > lastWordsTail {
		_, _ = f.Seek(-lastWordsTail, io.SeekEnd)
	}
	text, _ := io.ReadAll(io.LimitReader(f, lastWordsTail))
	lines := strings.Split(string(bytes.TrimSpace(text)), "\n")
	return fmt.Sprintf("%s (log: %s)", lines[len(lines)-1], u.logName(c.ID))
}

// probe says whether a process serves, as those see it that depend on it.
func (u *upRun) probe(ctx context.Context, c supervise.Child, pid int) bool {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if c.Role == supervise.Node {
		r, err := u.clients.Admin.ListNodes(ctx, &ashlar.ListNodesRequest{})
		for _, n := range r.GetNodes() {
			if n.GetName() == c.ID && n.GetPid() == uint64(pid) && n.GetState() == "up" {
				return err == nil
			}
		}
		return false
	}
	r, err := u.clients.Admin.ClusterStatus(ctx, &ashlar.ClusterStatusRequest{})
	if err != nil || c.Role == supervise.Control {
		return err == nil
	}
	for _, p := range r.GetProcesses() {
		if p.GetRole() == c.Role.String() && p.GetPid() == uint64(pid) {
			return u.accepts(ctx, u.dir.Layout.Gateway.Listen)
		}
	}
	return false
}

func (u *upRun) accepts(ctx context.Context, addr string) bool {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

// ensureVolume makes the volume ready and keeps the reason, with its class, when it cannot.
func (u *upRun) ensureVolume(ctx context.Context) error {
	u.volumeErr = u.makeVolume(ctx)
	return u.volumeErr
}

// makeVolume waits until every copyset has a leader and makes the volume when it is absent.
func (u *upRun) makeVolume(ctx context.Context) error {
	if err := u.awaitLeaders(ctx); err != nil {
		return err
	}
	name, asked := u.dir.Layout.Volume, u.flags.volume != ""
	if name == "" {
		return nil
	}
	r, err := u.clients.Admin.GetVolume(ctx, &ashlar.GetVolumeRequest{Name: name,
		WithoutSegments: true})
	size := (uint64(u.flags.size) + blockSize - 1) / blockSize * blockSize
	switch have := r.GetVolume().GetSizeBytes(); {
	case err == nil && size != 0 && size != have:
		return usage("volume %s has %s, not %s: leave --size away or name another volume", name,
			config.Size(have), u.flags.size)
	case err == nil:
	case !errors.Is(err, admin.ErrNotFound):
		return err
	case size != 0:
		if err := u.makeDirectories(ctx, name); err != nil {
			return err
		}
		_, err := u.clients.Admin.CreateVolume(ctx, &ashlar.CreateVolumeRequest{Name: name,
			SizeBytes: size})
		if err != nil {
			return err
		}
	case asked:
		return usage("volume %s does not exist: give its --size to make it", name)
	default: // deleted since it was recorded
		return nil
	}
	u.volume = name
	return nil
}

// makeDirectories makes the directories of a path that are absent.
func (u *upRun) makeDirectories(ctx context.Context, path string) error {
	for i, b := range path {
		if b != '/' {
			continue
		}
		_, err := u.clients.Admin.CreateDirectory(ctx, &ashlar.CreateDirectoryRequest{
			Path: path[:i]})
		if err != nil && !errors.Is(err, admin.ErrExists) {
			return err
		}
	}
	return nil
}

func (u *upRun) awaitLeaders(ctx context.Context) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		r, err := u.clients.Admin.ClusterStatus(ctx, &ashlar.ClusterStatusRequest{})
		if err == nil && r.GetCopysets() > 0 && r.GetCopysetsWithLeader() == r.GetCopysets() {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// announce keeps the supervisor itself in the list of processes: who stops every process of the
// list must not leave the one that would start them again.
func (u *upRun) announce(ctx context.Context) {
	tick := time.NewTicker(announceEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		call, cancel := context.WithTimeout(ctx, probeTimeout)
		// An error means that the control plane is away; the next round tells it.
		_, _ = u.clients.Node.RegisterProcess(call, &ashlar.RegisterProcessRequest{
			Role: "supervisor", Id: "up", Pid: uint64(os.Getpid())})
		cancel()
	}
}
