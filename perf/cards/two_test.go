package cards

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"
)

// meet is where the machine with the nodes says that they are ready and hears that the other one is
// done, control where its control plane listens: the first port that a fabric gives.
const (
	meet    = "10.9.0.1:7399"
	control = "10.9.0.1:7401"
	// lossTime is how long the cable loses all packets of RoCE while a client writes: longer than
	// cards try. backTime bounds what passes then until the client has written the rest and read
	// everything back.
	lossTime = 6 * time.Second
	backTime = 30 * time.Second
	// goneTime is how long it loses them while a client that may choose comes, writes and reads
	// back over TCP, fallBytes what that writes.
	goneTime  = 25 * time.Second
	fallBytes = 1 << 20
)

// TestNodesOfThisMachineServeAnother is one half, on one machine, of the test below on another:
// there is a cable between the two.
func TestNodesOfThisMachineServeAnother(t *testing.T) {
	c := start(t, "rdma")
	l, err := net.Listen("tcp", meet)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.(*net.TCPListener).SetDeadline(time.Now().Add(testTime)); err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	said := bufio.NewReader(conn)
	hear := func(want string) {
		t.Helper()
		if line, err := said.ReadString('\n'); err != nil || line != want+"\n" {
			t.Fatalf("the other machine says %q: %v", line, err)
		}
	}
	hear("cut")
	made := c.moved("connections_total", "rdma")
	hear("done")
	if made = c.moved("connections_total", "rdma") - made; made == 0 {
		t.Error("no connection was made anew after the cable had lost all packets")
	}
	fmt.Printf("figure: %.0f connections made anew\n", made)
	received, copied := c.moved("received_bytes_total", "rdma"),
		c.moved("received_copied_bytes_total", "rdma")
	if received < 3<<20 || copied != 0 { // how much there is depends on the machine
		t.Errorf("%.0f bytes received over cards, %.0f copied", received, copied)
	}
	if n := c.moved("received_bytes_total", "tcp"); n < fallBytes {
		t.Errorf("%.0f bytes over TCP of a client that no card could reach", n)
	}
}

func TestClientOfThisMachineUsesAnothersNodes(t *testing.T) {
	binary := os.Getenv("ASHLAR")
	if os.Getenv("RDMA_ADDRESS") == "" || binary == "" {
		t.Skip("needs a card, and a machine that runs the test above: make rdma has both")
	}
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	defer cancel()
	var conn net.Conn
	for {
		var err error
		if conn, err = net.Dial("tcp", meet); err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	defer conn.Close()
	begin := time.Now()
	cut := time.AfterFunc(begun, func() {
		_, _ = fmt.Fprintln(conn, "cut")
		fmt.Println("cable: lose " + lossTime.String())
	})
	defer cut.Stop()
	far := func(transport string, options ...string) {
		t.Helper()
		args := append([]string{"bench", "--transport=" + transport, "--endpoint=" + control,
			"--volume=vol", "--ioengine=ashlar", "--name=far", "--rw=randwrite", "--bs=64k",
			"--iodepth=4", "--verify=crc32c"}, options...)
		if out, err := exec.CommandContext(ctx, binary, args...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	far("rdma", "--size=8M", "--time_based", "--runtime=8")
	after := time.Since(begin) - begun - lossTime
	fmt.Printf("figure: no packet of RoCE passes for %v: no error, and all written and verified "+
		"%.1f s after it\n", lossTime, after.Seconds())
	if after > backTime {
		t.Errorf("the job ended %v after the cable was whole, want %v", after, backTime)
	}
	fmt.Println("cable: lose " + goneTime.String())
	begin = time.Now()
	far("auto", fmt.Sprintf("--size=%d", fallBytes))
	took := time.Since(begin)
	fmt.Printf("figure: a client without a way to the cards: written and verified over TCP in "+
		"%.1f s\n", took.Seconds())
	if took > goneTime {
		t.Errorf("%v, when packets passed again", took)
	}
	if _, err := fmt.Fprintln(conn, "done"); err != nil {
		t.Fatal(err)
	}
}
