package guest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// Cable joins two machines, whose ends are sockets of qemu, and can lose packets of RoCE.
type Cable struct {
	ln    net.Listener
	far   string
	until atomic.Int64 // nanoseconds since 1970: packets are lost before it
	lost  atomic.Int64
}

// NewCable makes the near end at a path, for the machine that makes no socket; far is the other
// machine's, and must be there when the first one comes.
func NewCable(near, far string) (*Cable, error) {
	ln, err := net.Listen("unix", near)
	if err != nil {
		return nil, fmt.Errorf("guest: cable: %w", err)
	}
	return &Cable{ln: ln, far: far}, nil
}

// Lose has all packets of RoCE lost for a while, and no others.
func (c *Cable) Lose(while time.Duration) { c.until.Store(time.Now().Add(while).UnixNano()) }

// Lost is the packets lost so far.
func (c *Cable) Lost() int64 { return c.lost.Load() }

// Close lets no machine come any more.
func (c *Cable) Close() error { return c.ln.Close() }

// Run carries packets until a machine is gone.
func (c *Cable) Run() error {
	a, err := c.ln.Accept()
	if err != nil {
		return fmt.Errorf("guest: cable: %w", err)
	}
	defer a.Close()
	b, err := net.Dial("unix", c.far)
	if err != nil {
		return fmt.Errorf("guest: cable: %w", err)
	}
	defer b.Close()
	done := make(chan error, 2)
	go func() { done <- c.carry(a, b) }()
	go func() { done <- c.carry(b, a) }()
	if err := <-done; !errors.Is(err, io.EOF) {
		return fmt.Errorf("guest: cable: %w", err)
	}
	return nil
}

// carry moves packets one way. Each has its length before it, as qemu has it in a stream.
func (c *Cable) carry(from, to net.Conn) error {
	in := bufio.NewReaderSize(from, 1<<16)
	packet := make([]byte, 4+packetMax)
	for {
		if _, err := io.ReadFull(in, packet[:4]); err != nil {
			return err
		}
		n := binary.BigEndian.Uint32(packet)
		if n > packetMax {
			return fmt.Errorf("a packet of %d bytes, at most %d", n, packetMax)
		}
		if _, err := io.ReadFull(in, packet[4:4+n]); err != nil {
			return err
		}
		if roce(packet[4:4+n]) && time.Now().UnixNano() < c.until.Load() {
			c.lost.Add(1)
			continue
		}
		if _, err := to.Write(packet[:4+n]); err != nil {
			return err
		}
	}
}

// roce says whether an Ethernet frame is of RoCE v2 over IPv4: UDP to port 4791.
func roce(frame []byte) bool {
	const etherHeader, ipHeader, udp, port = 14, 20, 17, 4791
	if len(frame) < etherHeader+ipHeader+8 || binary.BigEndian.Uint16(frame[12:]) != 0x0800 {
		return false
	}
	ip := frame[etherHeader:]
	at := int(ip[0]&15) * 4
	return ip[9] == udp && len(ip) >= at+4 && binary.BigEndian.Uint16(ip[at+2:]) == port
}
