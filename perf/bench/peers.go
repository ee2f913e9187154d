package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/ashlar-storage/ashlar/internal/loopback"
	"github.com/ashlar-storage/ashlar/perf/fio"
)

const (
	// numberMark stands in a peer's options for the number of a volume, from 1 on.
	numberMark = "{n}"
	peerWait   = 10 * time.Second
)

// peer is another block store that fio measures beside the cluster.
type peer struct {
	name    string
	options []string // of fio's job
	serve   []string // the program to start; PORT and IMAGE are filled in; nil: it runs already
	cmd     *exec.Cmd
}

// servers are the peers that this program can start: one durable copy on the disk of the cluster,
// over the same protocol as the gateway.
var servers = map[string][]string{
	"nbdkit": {"nbdkit", "-f", "-i", "127.0.0.1", "-p", "PORT", "--filter=fua", "file", "IMAGE",
		"fuamode=force"},
	"qemu-nbd": {"qemu-nbd", "-b", "127.0.0.1", "-p", "PORT", "-t", "-e", "8", "-f", "raw",
		"--cache=directsync", "--aio=io_uring", "IMAGE"},
}

var peerName = regexp.MustCompile(`^[a-z][a-z0-9]*(-nbd)?$`)

// parsePeers reads "nbdkit qemu-nbd ceph:ioengine=rbd,pool=rbd,rbdname=img{n}": what to start by
// its name, and what runs already by fio's options for it.
func parsePeers(text string) (out []peer, err error) {
	seen := map[string]bool{onNet: true}
	for _, name := range all(nil) {
		seen[name] = true
	}
	for _, one := range strings.Fields(text) {
		name, options, given := strings.Cut(one, ":")
		p := peer{name: name, serve: servers[name]}
		switch {
		case !peerName.MatchString(name) || seen[name]:
			return nil, fmt.Errorf("bench: -peers: %q is taken or no name: use lower-case letters "+
				"and digits", name)
		case given:
			p.options, p.serve = strings.Split(options, ","), nil
		case p.serve == nil:
			return nil, fmt.Errorf("bench: -peers: %q is none that can be started: add fio's "+
				"options, as in %s:ioengine=rbd,pool=rbd,rbdname=img", name, name)
		}
		seen[name] = true
		out = append(out, p)
	}
	return out, nil
}

// start makes the peer's image, written once, and starts its server. The volumes of a peer that
// runs already are written once.
func (p *peer) start(ctx context.Context, dir string, size int64) error {
	say("peer %s", p.name)
	if p.serve == nil {
		return p.fill(ctx, size)
	}
	if _, err := exec.LookPath(p.serve[0]); err != nil {
		return fmt.Errorf("bench: peer %s: install the package that has %s: %w", p.name,
			p.serve[0], err)
	}
	image := filepath.Join(dir, p.name+".img")
	if err := writeFile(ctx, image, size); err != nil {
		return err
	}
	addrs, err := loopback.Addrs(1)
	if err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(addrs[0])
	fill := strings.NewReplacer("PORT", port, "IMAGE", image)
	var args []string
	for _, a := range p.serve {
		args = append(args, fill.Replace(a))
	}
	p.options = []string{"ioengine=nbd", "uri=nbd://" + addrs[0]}
	p.cmd = exec.Command(args[0], args[1:]...)
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("bench: peer %s: %w", p.name, err)
	}
	return p.await(ctx, addrs[0])
}

func (p *peer) fill(ctx context.Context, size int64) error {
	job := fio.Job{RW: "write", Block: 1 << 20, Depth: fillDepth, Size: size,
		Options: p.numbered(1)}
	if _, err := fio.Run(ctx, job); err != nil || !p.several() {
		return err
	}
	job.Options, job.Each, job.Size = nil, p.each(many), size/many
	_, err := fio.Run(ctx, job)
	return err
}

func (p *peer) await(ctx context.Context, addr string) error {
	for end := time.Now().Add(peerWait); ; {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(end) {
			return fmt.Errorf("bench: peer %s does not serve: %w", p.name, err)
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

func (p *peer) close() error {
	if p.cmd == nil || p.cmd.Process == nil {
		return nil
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil // the signal
	}
	return err
}

// onPeer makes a job one of the case's peer.
func (b *bench) onPeer(c *benchCase, job *fio.Job) {
	for i := range b.o.peers {
		p := &b.o.peers[i]
		if p.name != c.who {
			continue
		}
		if c.volumes > 1 {
			job.Each, job.Size = p.each(c.volumes), b.manySize()
			return
		}
		job.Options = p.numbered(1)
	}
}

func (p *peer) numbered(n int) (out []string) {
	for _, o := range p.options {
		out = append(out, strings.ReplaceAll(o, numberMark, fmt.Sprint(n)))
	}
	return out
}

// each is the options for the first n volumes.
func (p *peer) each(n int) (out [][]string) {
	for i := range n {
		out = append(out, p.numbered(i+1))
	}
	return out
}

// several reports whether the peer has a volume for each number.
func (p *peer) several() bool { return strings.Contains(strings.Join(p.options, " "), numberMark) }
