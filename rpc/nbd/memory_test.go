package nbd

import (
	"bytes"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"
)

// Memory is a Backend whose exports are kept in memory.
type Memory struct {
	mu      sync.Mutex
	exports []*MemoryExport
}

// MemoryExport is shared by all connections to it.
type MemoryExport struct {
	info ExportInfo

	mu    sync.Mutex
	data  []byte
	holes []bool // per 4 KiB block: never written or trimmed

	async bool                 // requests end on another goroutine; set before it is served
	hook  func(*Request) error // runs before a request is carried out; an error is its outcome

	open, closed int
	backend      *Memory
}

// memoryBlock is the unit of the allocation map.
const memoryBlock = 4096

func fullInfo(name string, size int64) ExportInfo {
	return ExportInfo{
		Name: name, Description: "memory of " + name, Size: size,
		Flush: true, FUA: true, Trim: true, Zeroes: true, FastZero: true, Cache: true,
		MultiConn: true, Extents: true,
	}
}

func newMemoryBackend(infos ...ExportInfo) *Memory {
	m := &Memory{}
	for _, info := range infos {
		e := &MemoryExport{info: info, data: make([]byte, info.Size), backend: m}
		e.holes = make([]bool, (info.Size+memoryBlock-1)/memoryBlock)
		for i := range e.holes {
			e.holes[i] = true
		}
		m.exports = append(m.exports, e)
	}
	return m
}

func (m *Memory) find(name string) (*MemoryExport, error) {
	for _, e := range m.exports {
		if e.info.Name == name {
			return e, nil
		}
	}
	return nil, ErrUnknownExport
}

func (m *Memory) Lookup(name string) (Export, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, err := m.find(name)
	if err != nil {
		return nil, err
	}
	e.open++
	if e.info.Extents {
		return mappedExport{e}, nil
	}
	return e, nil
}

func (m *Memory) List() ([]ExportInfo, error) {
	var out []ExportInfo
	for _, e := range m.exports {
		out = append(out, e.info)
	}
	return out, nil
}

func (m *Memory) users(name string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, _ := m.find(name)
	return e.open - e.closed
}

func (e *MemoryExport) Info() ExportInfo { return e.info }

func (e *MemoryExport) Close() error {
	e.backend.mu.Lock()
	defer e.backend.mu.Unlock()
	e.closed++
	return nil
}

func (e *MemoryExport) Submit(r *Request) {
	if e.async {
		go func() { r.finish(e.carryOut(r)) }()
		return
	}
	r.finish(e.carryOut(r))
}

func (e *MemoryExport) carryOut(r *Request) error {
	e.mu.Lock()
	hook := e.hook
	e.mu.Unlock()
	if hook != nil {
		if err := hook(r); err != nil {
			return err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	part := e.data[r.Off : r.Off+r.Len]
	switch r.Cmd {
	case CmdRead:
		copy(r.Data, part)
	case CmdWrite:
		copy(part, r.Data)
		e.mark(r.Off, r.Len, false)
	case CmdTrim, CmdWriteZeroes:
		clear(part)
		e.mark(r.Off, r.Len, r.Flags&FlagNoHole == 0)
	}
	return nil
}

func (e *MemoryExport) setHook(hook func(*Request) error) {
	e.mu.Lock()
	e.hook = hook
	e.mu.Unlock()
}

// content is a copy of all bytes.
func (e *MemoryExport) content() []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	return bytes.Clone(e.data)
}

// wipe makes all bytes differ from zero.
func (e *MemoryExport) wipe() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range e.data {
		e.data[i] = 0xa5
	}
}

// mark records blocks as holes (only whole ones) or as data.
func (e *MemoryExport) mark(off, n int64, hole bool) {
	first, last := off/memoryBlock, (off+n+memoryBlock-1)/memoryBlock
	for b := first; b < last; b++ {
		whole := b*memoryBlock >= off && (b+1)*memoryBlock <= off+n
		if !hole || whole {
			e.holes[b] = hole
		}
	}
}

type mappedExport struct{ *MemoryExport }

func (e mappedExport) Extents(dst []Extent, off, n int64, limit int) ([]Extent, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for end := off + n; off < end && limit > 0; limit-- {
		stop := min(end, (off/memoryBlock+1)*memoryBlock)
		state := State(0)
		if e.holes[off/memoryBlock] {
			state = StateHole | StateZero
		}
		dst = append(dst, Extent{Len: stop - off, State: state})
		off = stop
	}
	return dst, nil
}

var quietLog = slog.New(slog.NewTextHandler(io.Discard, nil))

// startServer serves m on a loopback port until the end of the test.
func startServer(t testing.TB, m *Memory, change func(*Config)) (*Server, string) {
	t.Helper()
	cfg := Config{Backend: m, Logger: quietLog, MemoryBytes: 64 << 20}
	if change != nil {
		change(&cfg)
	}
	s, err := NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	addr, err := s.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the server: %v", err)
		}
		for _, e := range m.exports {
			if n := m.users(e.info.Name); n != 0 {
				t.Errorf("export %s: %d not closed", e.info.Name, n)
			}
		}
	})
	return s, addr.String()
}

func dial(t testing.TB, d *Dialer, addr, export string) *Client {
	t.Helper()
	c, err := d.Dial(t.Context(), addr, export)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// eventually waits for ok, at most ten seconds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if ok() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("not within 10 s: %s", what)
}
