package guest

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// frame is an Ethernet frame of UDP to a port, as qemu sends it.
func frame(port uint16, size int) []byte {
	f := make([]byte, 14+20+8+size)
	binary.BigEndian.PutUint16(f[12:], 0x0800)
	f[14], f[14+9] = 0x45, 17
	binary.BigEndian.PutUint16(f[14+20+2:], port)
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(f))), f...)
}

func TestCableLosesOnlyRoCEAndOnlyForAWhile(t *testing.T) {
	dir := t.TempDir()
	near, far := filepath.Join(dir, "near"), filepath.Join(dir, "far")
	other, err := net.Listen("unix", far)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	c, err := NewCable(near, far)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ended := make(chan error, 1)
	go func() { ended <- c.Run() }()
	a, err := net.Dial("unix", near)
	if err != nil {
		t.Fatal(err)
	}
	b, err := other.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	passes := func(sent, want []byte) {
		t.Helper()
		if _, err := a.Write(sent); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(b, got); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("got %x, %v; want %x", got, err, want)
		}
	}
	roce, other1 := frame(4791, 100), frame(53, 60)
	passes(roce, roce)
	c.Lose(time.Hour)
	passes(append(bytes.Clone(roce), other1...), other1)
	c.Lose(0)
	passes(roce, roce)
	if c.Lost() != 1 {
		t.Errorf("%d packets lost", c.Lost())
	}
	_ = a.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
