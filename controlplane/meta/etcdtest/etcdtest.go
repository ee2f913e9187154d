package etcdtest

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/internal/loopback"
)

const (
	binary    = "etcd"
	startWait = 30 * time.Second
	tailBytes = 2000 // of a log, in an error
)

// Options are how the servers run.
type Options struct {
	Members int      // 1
	Args    []string // further arguments of every server
	Scheme  string   // of the client's URLs; "http"
}

// Cluster is a set of servers that are one etcd.
type Cluster struct {
	Members []*Member
}

// Member is one server.
type Member struct {
	Addr string // host:port for clients

	dir, url string
	args     []string
	cmd      *exec.Cmd
	done     chan struct{} // closed when the process ended
}

// Start runs a cluster until the test ends.
func Start(tb testing.TB, o Options) *Cluster {
	tb.Helper()
	c, err := Run(tb.TempDir(), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Stop)
	return c
}

// Run starts a cluster in a directory and waits until it has a leader, or, where a certificate is
// needed to ask, until its ports are open. The caller stops it.
func Run(dir string, o Options) (*Cluster, error) {
	path, err := exec.LookPath(binary)
	if err != nil {
		return nil, fmt.Errorf("etcdtest: %w; install the package etcd-server (see "+
			"deploy/packages.txt)", err)
	}
	n := max(o.Members, 1)
	addrs, err := loopback.Addrs(2 * n)
	if err != nil {
		return nil, err
	}
	if o.Scheme == "" {
		o.Scheme = "http"
	}
	var peers []string
	for i := range n {
		peers = append(peers, fmt.Sprintf("m%d=http://%s", i, addrs[n+i]))
	}
	c := &Cluster{}
	for i := range n {
		m := &Member{Addr: addrs[i], dir: filepath.Join(dir, fmt.Sprintf("m%d", i)),
			url: o.Scheme + "://" + addrs[i]}
		peer := "http://" + addrs[n+i]
		m.args = append([]string{path, "--name", fmt.Sprintf("m%d", i), "--data-dir", m.dir,
			"--listen-client-urls", m.url, "--advertise-client-urls", m.url,
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
			"--initial-cluster", strings.Join(peers, ","), "--initial-cluster-state", "new",
			"--log-level", "error"}, o.Args...)
		c.Members = append(c.Members, m)
	}
	for _, m := range c.Members {
		if err := m.launch(); err != nil {
			c.Stop()
			return nil, err
		}
	}
	for _, m := range c.Members {
		err := m.await()
		if err == nil && o.Scheme == "http" {
			err = m.awaitHealth()
		}
		if err != nil {
			c.Stop()
			return nil, err
		}
	}
	return c, nil
}

// Endpoints are the addresses of all members.
func (c *Cluster) Endpoints() (all []string) {
	for _, m := range c.Members {
		all = append(all, m.url)
	}
	return all
}

// Stop kills all members that run.
func (c *Cluster) Stop() {
	for _, m := range c.Members {
		m.Kill()
	}
}

// Kill ends the process as a crash would. One that has ended is no error.
func (m *Member) Kill() {
	if m.cmd == nil {
		return
	}
	_ = m.cmd.Process.Kill()
	<-m.done
	m.cmd = nil
}

// Pause stops the process without ending it; to others it is as if cut off.
func (m *Member) Pause() error { return m.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume undoes Pause.
func (m *Member) Resume() error { return m.cmd.Process.Signal(syscall.SIGCONT) }

// Restart starts a killed member again, with the directory and the addresses that it had.
func (m *Member) Restart() error {
	if err := m.launch(); err != nil {
		return err
	}
	return m.await()
}

func (m *Member) logFile() string { return m.dir + ".log" }

func (m *Member) launch() error {
	log, err := os.OpenFile(m.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(m.args[0], m.args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("etcdtest: %w", err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	m.cmd, m.done = cmd, done
	return nil
}

// await returns when the member takes connections.
func (m *Member) await() error {
	for end := time.Now().Add(startWait); time.Now().Before(end); {
		conn, err := net.DialTimeout("tcp", m.Addr, time.Second)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-m.done:
			return fmt.Errorf("etcdtest: etcd ended: %s", m.tail())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return errors.New("etcdtest: etcd does not listen: " + m.tail())
}

// awaitHealth returns when the member's cluster has a leader, for which a busy disk may take
// seconds after its ports are open.
func (m *Member) awaitHealth() error {
	client := http.Client{Timeout: startWait / 10}
	for end := time.Now().Add(startWait); time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
		resp, err := client.Get(m.url + "/health")
		if err != nil {
			continue
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
	}
	return errors.New("etcdtest: etcd is not healthy: " + m.tail())
}

func (m *Member) tail() string {
	text, err := os.ReadFile(m.logFile())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-tailBytes):])
}
