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
	said, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || said != "done\n" {
		t.Fatalf("the other machine says %q: %v", said, err)
	}
	received, copied := c.moved("received_bytes_total", "rdma"),
		c.moved("received_copied_bytes_total", "rdma")
	if received < 3*4<<20 || copied != 0 {
		t.Errorf("%.0f bytes received over cards, %.0f copied", received, copied)
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
	out, err := exec.CommandContext(ctx, binary, "bench", "--transport=rdma", "--endpoint="+control,
		"--volume=vol", "--ioengine=ashlar", "--name=far", "--rw=randwrite", "--bs=64k",
		"--iodepth=4", "--size=8M", "--io_size=4M", "--verify=crc32c").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := fmt.Fprintln(conn, "done"); err != nil {
		t.Fatal(err)
	}
}
