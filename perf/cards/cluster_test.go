package cards

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/perf/rig"
)

// The bounds of a test: all of them are waits for what must happen.
const (
	testTime   = 3 * time.Minute
	startTime  = 20 * time.Second // of a node
	volumeSize = 64 << 20
	firstPort  = 7400
)

// settings of the nodes, which share one small machine.
const settings = "memory: 64MiB\nscrub_rate: 0\n"

// fabric is the network of a cluster: every process listens at the address of the card.
type fabric struct {
	address string
	last    int
}

func (f *fabric) Addrs(_ string, n int) (addrs []string, err error) {
	for range n {
		f.last++
		addrs = append(addrs, net.JoinHostPort(f.address, strconv.Itoa(firstPort+f.last)))
	}
	return addrs, nil
}

func (f *fabric) Wrap(_ string, argv []string) []string { return argv }

// cluster is three nodes over cards with a volume.
type cluster struct {
	*rig.Cluster
	t      *testing.T
	ctx    context.Context
	binary string
}

func start(t *testing.T, transport string) *cluster {
	t.Helper()
	address, binary := os.Getenv("RDMA_ADDRESS"), os.Getenv("ASHLAR")
	if address == "" || binary == "" {
		t.Skip("needs an RDMA card and the program, in RDMA_ADDRESS and ASHLAR: make rdma has both")
	}
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	t.Cleanup(cancel)
	r, err := rig.Start(ctx, rig.Config{Binary: binary, Parent: os.TempDir(), Copysets: 2,
		Net: &fabric{address: address}, NodeSettings: settings + "transport: " + transport + "\n"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, p := range r.Processes {
				text, _ := os.ReadFile(r.Dir + "/" + p.Name + ".log")
				t.Logf("%s:\n%s", p.Name, text[max(0, len(text)-4<<10):])
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := r.CreateVolume(ctx, "vol", volumeSize); err != nil {
		t.Fatal(err)
	}
	return &cluster{Cluster: r, t: t, ctx: ctx, binary: binary}
}

// bench begins a job that verifies what it reads; the channel gets its end.
func (c *cluster) bench(name, transport string, options ...string) chan error {
	c.t.Helper()
	args := append([]string{"bench", "--transport=" + transport, "--endpoint=" + c.Endpoint,
		"--volume=vol", "--ioengine=ashlar", "--name=" + name, "--verify=crc32c",
		"--size=16M"}, options...)
	cmd := exec.CommandContext(c.ctx, c.binary, args...)
	done := make(chan error, 1)
	go func() {
		out, err := cmd.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("ashlar %s: %w\n%s", strings.Join(args, " "), err, out)
		}
		done <- err
	}()
	return done
}

func (c *cluster) await(done chan error) {
	c.t.Helper()
	if err := <-done; err != nil {
		c.t.Fatal(err)
	}
}

// metrics asks a node for them, which may have been started just now.
func (c *cluster) metrics(admin string) *http.Response {
	c.t.Helper()
	for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		r, err := http.Get("http://" + admin + "/metrics")
		if err == nil {
			return r
		}
		if time.Since(begin) > startTime {
			c.t.Fatal(err)
		}
	}
}

// moved sums one of the transport counters over the nodes: ashlar_transport_NAME of a transport.
func (c *cluster) moved(name, transport string) (sum float64) {
	c.t.Helper()
	for _, p := range c.Nodes() {
		r := c.metrics(p.Admin)
		for lines := bufio.NewScanner(r.Body); lines.Scan(); {
			key, value, _ := strings.Cut(lines.Text(), "} ")
			if strings.HasPrefix(key, "ashlar_transport_"+name+"{") &&
				strings.Contains(key, `transport="`+transport+`"`) {
				n, err := strconv.ParseFloat(value, 64)
				if err != nil {
					c.t.Fatal(err)
				}
				sum += n
			}
		}
		r.Body.Close()
	}
	return sum
}

// TestClusterOverCards is one cluster and what happens to it, in this order.
func TestClusterOverCards(t *testing.T) {
	c := start(t, "rdma")
	for _, step := range []struct {
		name string
		f    func(*cluster)
	}{
		{"KeepsWhatIsWrittenAndCopiesNothing", (*cluster).keeps},
		{"ClientsGoOnWhenALeaderDies", (*cluster).leaderDies},
		{"ClientWithoutACardUsesTCP", (*cluster).fallsBack},
	} {
		if !t.Run(step.name, func(t *testing.T) {
			step.f(&cluster{Cluster: c.Cluster, t: t, ctx: c.ctx, binary: c.binary})
		}) {
			return
		}
	}
}

func (c *cluster) keeps() {
	c.await(c.bench("small", "rdma", "--rw=randwrite", "--bs=4k", "--iodepth=8", "--io_size=1M"))
	c.await(c.bench("large", "rdma", "--rw=write", "--bs=512k", "--iodepth=2", "--size=8M"))
	received, sent := c.moved("received_bytes_total", "rdma"), c.moved("sent_bytes_total", "rdma")
	copied := c.moved("received_copied_bytes_total", "rdma") + c.moved("sent_copied_bytes_total",
		"rdma")
	tcp := c.moved("received_bytes_total", "tcp") + c.moved("sent_bytes_total", "tcp")
	fmt.Printf("figure: cluster over cards: %.1f MiB of payload received by nodes, %.1f MiB sent, "+
		"%.0f bytes copied, %.0f over TCP\n", received/(1<<20), sent/(1<<20), copied, tcp)
	if received < 3*9<<20 || copied != 0 || tcp != 0 {
		c.t.Errorf("received %.0f, sent %.0f, copied %.0f, over TCP %.0f", received, sent, copied,
			tcp)
	}
}

// storm is a job that verifies while something happens.
func (c *cluster) storm() chan error {
	return c.bench("storm", "rdma", "--rw=randrw", "--bs=16k", "--iodepth=4", "--size=4M",
		"--time_based", "--runtime=8")
}

// begun is how long after its start a job is under way.
const begun = 4 * time.Second

func (c *cluster) leaderDies() {
	done := c.storm()
	time.Sleep(begun)
	p, _, err := c.Busiest(c.ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
		c.t.Fatal(err)
	}
	if err := c.ReapOne(c.ctx, p); err != nil {
		c.t.Fatal(err)
	}
	time.Sleep(time.Second)
	if err := c.Restart(); err != nil {
		c.t.Fatal(err)
	}
	c.await(done)
}

func (c *cluster) fallsBack() {
	before := c.moved("received_bytes_total", "tcp")
	c.await(c.bench("tcp", "tcp", "--rw=randwrite", "--bs=16k", "--iodepth=4", "--size=2M"))
	if n := c.moved("received_bytes_total", "tcp") - before; n < 2<<20 {
		c.t.Errorf("%.0f bytes over TCP", n)
	}
	sent := c.moved("sent_bytes_total", "rdma")
	c.await(c.bench("auto", "auto", "--rw=randread", "--bs=16k", "--iodepth=4", "--size=2M",
		"--verify=none"))
	if n := c.moved("sent_bytes_total", "rdma") - sent; n < 2<<20 {
		c.t.Errorf("%.0f bytes read over RDMA", n)
	}
}
