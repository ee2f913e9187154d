package nbd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/ashlar-storage/ashlar/io/buf"
)

// describing is a backend that can tell of an export without opening it.
type describing struct {
	*Memory
	err error
}

func (d describing) Describe(name string) (ExportInfo, error) {
	if d.err != nil {
		return ExportInfo{}, d.err
	}
	e, err := d.find(name)
	if err != nil {
		return ExportInfo{}, err
	}
	return e.info, nil
}

// askInfo sends NBD_OPT_INFO and returns the outcome.
func askInfo(t *testing.T, addr, export string) error {
	t.Helper()
	h, err := (&Dialer{}).connect(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	defer h.release()
	defer func() { _ = h.nc.Close() }()
	return h.ask(optInfo, infoData(export), func(uint32, []byte) error { return nil })
}

func TestAskingForInformationOpensNothing(t *testing.T) {
	m := newMemoryBackend(fullInfo("vol", 1<<20))
	_, addr := startServer(t, m, func(c *Config) { c.Backend = describing{m, nil} })
	if err := askInfo(t, addr, "vol"); err != nil {
		t.Fatal(err)
	}
	if err := askInfo(t, addr, "nosuch"); !errors.Is(err, ErrUnknownExport) {
		t.Errorf("unknown export: %v", err)
	}
	if m.exports[0].open != 0 {
		t.Error("the export was opened")
	}
	dial(t, &Dialer{Extents: true}, addr, "vol")
	if m.exports[0].open != 1 {
		t.Errorf("attaching opened the export %d times", m.exports[0].open)
	}
}

func TestRefusalsOfTheBackendKeepTheirClass(t *testing.T) {
	m := newMemoryBackend()
	for _, want := range []error{ErrPolicy, ErrUnknownExport, ErrClosed} {
		cause := fmt.Errorf("%w: said the backend", want)
		_, addr := startServer(t, m, func(c *Config) { c.Backend = describing{m, cause} })
		err := askInfo(t, addr, "vol")
		if !errors.Is(err, want) || !strings.Contains(err.Error(), "said the backend") {
			t.Errorf("%v reached the client as %v", cause, err)
		}
	}
}

func TestAnExportThatCannotBeToldIsRefused(t *testing.T) {
	for name, change := range map[string]func(*ExportInfo){
		"negative size":       func(i *ExportInfo) { i.Size = -1 },
		"minimum not a power": func(i *ExportInfo) { i.MinBlock = 513 },
		"minimum too large":   func(i *ExportInfo) { i.MinBlock = 1 << 17 },
		"preferred too small": func(i *ExportInfo) { i.MinBlock, i.PreferredBlock = 4096, 512 },
		"preferred too odd":   func(i *ExportInfo) { i.PreferredBlock = 5000 },
		"payload too small":   func(i *ExportInfo) { i.MaxPayload = 1 },
	} {
		m := newMemoryBackend(fullInfo("vol", 4096))
		change(&m.exports[0].info)
		_, addr := startServer(t, m, nil)
		if _, err := Dial(t.Context(), addr, "vol"); !errors.Is(err, ErrUnknownExport) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPayloadIsAlignedAlsoWhenThePoolHasNone(t *testing.T) {
	pool, err := buf.NewPool(buf.Config{Bytes: 2 << 20})
	if err != nil {
		t.Fatal(err)
	}
	m := newMemoryBackend(fullInfo("vol", 32<<20))
	m.exports[0].async = true
	m.exports[0].hook = func(r *Request) error {
		if p := uintptr(unsafe.Pointer(unsafe.SliceData(r.Data))); p%buf.BlockSize != 0 {
			t.Errorf("%v of %d bytes: memory at %#x", r.Cmd, r.Len, p)
		}
		return nil
	}
	s, addr := startServer(t, m, func(c *Config) { c.Pool = pool })
	c := dial(t, &Dialer{}, addr, "vol")
	want, got := randomBytes(9, 12_345_678), make([]byte, 12_345_678)
	if _, err := c.WriteAt(want, 77); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ReadAt(got, 77); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("read back differs, or %v", err)
	}
	if s.Stats().HeapBufs == 0 {
		t.Error("2 MiB of pool were enough: the test shows nothing")
	}
	memoryIsBack(t, s)
	if err := pool.Close(); err != nil {
		t.Error(err)
	}
}

// pipes is a listener of connections without descriptors.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

func TestConnectionsWithoutDescriptorAreServed(t *testing.T) {
	m := newMemoryBackend(fullInfo("vol", 8<<20))
	s, _ := startServer(t, m, nil)
	p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	if err := s.Serve(p); err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	p.conns <- far
	h := &greeter{nc: near, in: newInput(near), release: func() {}}
	if err := h.greet(); err != nil {
		t.Fatal(err)
	}
	if err := h.choose(&Dialer{}, "vol"); err != nil {
		t.Fatal(err)
	}
	c := newClient(h, 8)
	defer func() { _ = c.Close() }()
	want, got := randomBytes(4, 5<<20), make([]byte, 5<<20)
	if _, err := c.WriteAt(want, 3); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ReadAt(got, 3); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read back differs, or %v", err)
	}
}

func TestShutdownDoesNotWaitForIdleClients(t *testing.T) {
	m := newMemoryBackend(fullInfo("vol", 1<<20))
	s, addr := startServer(t, m, nil)
	nc, err := net.Dial("tcp", addr) // never says anything
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	idle := dial(t, &Dialer{}, addr, "vol")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if err := idle.Flush(); err == nil {
		t.Error("flush after the shutdown succeeded")
	}
	if _, err := s.Listen("127.0.0.1:0"); !errors.Is(err, ErrClosed) {
		t.Errorf("listening after the shutdown: %v", err)
	}
}

func TestBadConfigurationNamesTheField(t *testing.T) {
	m := newMemoryBackend()
	for field, cfg := range map[string]Config{
		"Backend":     {},
		"MemoryBytes": {Backend: m, MemoryBytes: 1 << 20},
		"negative":    {Backend: m, MaxConns: -1},
	} {
		if _, err := NewServer(cfg); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}
