package engine

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ashlar-storage/ashlar/io/uring"
	"github.com/ashlar-storage/ashlar/perf/echo"
	"github.com/ashlar-storage/ashlar/perf/load"
	"github.com/ashlar-storage/ashlar/rpc/nbd"
)

// memory is an export in memory. When lie is set, it tells what becomes of a request.
type memory struct {
	mu    sync.Mutex
	bytes []byte
	lie   func(m *memory, r *nbd.Request)
	flush int
	fua   int
}

func (m *memory) Lookup(string) (nbd.Export, error) { return m, nil }
func (m *memory) List() ([]nbd.ExportInfo, error)   { return []nbd.ExportInfo{m.Info()}, nil }
func (m *memory) Close() error                      { return nil }
func (m *memory) Info() nbd.ExportInfo {
	return nbd.ExportInfo{Name: "mem", Size: int64(len(m.bytes)), Flush: true, FUA: true}
}

func (m *memory) Submit(r *nbd.Request) {
	m.mu.Lock()
	switch {
	case r.Cmd == nbd.CmdFlush:
		m.flush++
	case m.lie != nil:
		m.lie(m, r)
	case r.Cmd == nbd.CmdRead:
		copy(r.Data, m.bytes[r.Off:])
	case r.Cmd == nbd.CmdWrite:
		copy(m.bytes[r.Off:], r.Data)
		if r.Flags&nbd.FlagFUA != 0 {
			m.fua++
		}
	}
	m.mu.Unlock()
	r.Err = nil
	r.Done(r)
}

func open(t *testing.T, s Spec) Target {
	t.Helper()
	if s.Sync == "" {
		s.Sync = "none"
	}
	target, err := NewOpener().Open(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := target.Close(); err != nil {
			t.Error(err)
		}
	})
	return target
}

const size = 1 << 20

func verified(depth int) load.Job {
	return load.Job{Reads: 30, Sizes: load.Blocks(4096), Random: true, Depth: depth, Size: size,
		Ops: 2000, Seed: 9, SyncEvery: 100, Verify: &load.Verify{PatternAt: -1, After: true}}
}

// The same verifying job runs on all engines that store something, at both kinds of depth.
func TestStoringEnginesReturnWhatWasWritten(t *testing.T) {
	m := &memory{bytes: make([]byte, size)}
	uri := serveAs(t, m)
	for name, s := range map[string]Spec{
		"nbd":   {Kind: "nbd", URI: uri, Write: true, Flush: true, Sync: "dsync"},
		"uring": {Kind: "uring", File: filepath.Join(t.TempDir(), "f"), Write: true, Reach: size},
	} {
		for _, depth := range []int{1, 32} {
			s.Depth, s.Block = depth, 4096
			if err := uring.Probe(); s.Kind == "uring" && depth > 1 && err != nil {
				t.Logf("not at depth %d: %v", depth, err)
				continue
			}
			target := open(t, s)
			if target.Size() != size {
				t.Errorf("%s: size %d", name, target.Size())
			}
			res, err := load.Run(context.Background(), target, verified(depth))
			if err != nil || res.Syncs.Count() < 10 {
				t.Errorf("%s at depth %d: %d flushes, %v", name, depth, res.Syncs.Count(), err)
			}
		}
	}
	if m.flush == 0 || m.fua == 0 {
		t.Errorf("%d flushes and %d durable writes came to the server", m.flush, m.fua)
	}
}

func TestServerThatLiesIsCaughtThroughTheWholePath(t *testing.T) {
	m := &memory{bytes: make([]byte, size)}
	m.lie = func(m *memory, r *nbd.Request) {
		if r.Cmd == nbd.CmdRead {
			copy(r.Data, m.bytes[r.Off:])
		} else if r.Off != 40960 {
			copy(m.bytes[r.Off:], r.Data)
		} else {
			copy(m.bytes[r.Off:r.Off+512], r.Data)
		}
	}
	target := open(t, Spec{Kind: "nbd", URI: serveAs(t, m), Write: true, Depth: 8, Block: 4096})
	_, err := load.Run(context.Background(), target, verified(8))
	if !errors.Is(err, load.ErrLied) || !strings.Contains(err.Error(), "offset 40960") {
		t.Errorf("a server that tears block 10: %v", err)
	}
}

func TestFramesGoToTheEchoAndBack(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	addr, done := make(chan string, 1), make(chan error, 1)
	go func() { done <- echo.Serve(ctx, "127.0.0.1:0", func(a string) { addr <- a }) }()
	target := open(t, Spec{Kind: "net", Endpoint: <-addr, Depth: 16, Block: 4096})
	res, err := load.Run(ctx, target, load.Job{Reads: 50, Sizes: load.Blocks(4096), Random: true,
		Depth: 16, Size: size, Ops: 2000})
	if err != nil || res.Ops() != 2000 {
		t.Errorf("%d operations, %v", res.Ops(), err)
	}
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(cancel)
}

func TestWhatAnEngineCannotDoIsSaid(t *testing.T) {
	small := filepath.Join(t.TempDir(), "small")
	if err := os.WriteFile(small, make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	plain := &readOnly{memory{bytes: make([]byte, size)}}
	for want, s := range map[string]Spec{
		"use ashlar, nbd, uring":    {Kind: "tape"},
		"has 8192 bytes":            {Kind: "uring", File: small, Reach: 1 << 20},
		"is a directory":            {Kind: "uring", File: t.TempDir()},
		"no such file":              {Kind: "uring", File: small + "x", Reach: 4096},
		"read-only":                 {Kind: "nbd", URI: serveAs(t, plain), Write: true},
		"a frame takes at most":     {Kind: "net", Endpoint: "127.0.0.1:1", Block: 2 << 20},
		"the echo takes at most":    {Kind: "net", Endpoint: "x", Block: 1 << 20, Depth: 64},
		"a volume takes at most":    {Kind: "ashlar", Volume: "v", Block: 64 << 20},
		"no flush: leave fsync":     {Kind: "nbd", URI: serveAs(t, plain), Flush: true},
		"scheme \"ftp\" is not nbd": {Kind: "nbd", URI: "ftp://x/y"},
	} {
		if s.Sync == "" {
			s.Sync = "none"
		}
		_, err := NewOpener().Open(context.Background(), s)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v does not say %q", s, err, want)
		}
	}
}

type readOnly struct{ memory }

func (r *readOnly) Lookup(string) (nbd.Export, error) { return r, nil }
func (r *readOnly) Info() nbd.ExportInfo {
	return nbd.ExportInfo{Name: "mem", Size: int64(len(r.bytes)), ReadOnly: true}
}

func serveAs(t *testing.T, b nbd.Backend) (uri string) {
	t.Helper()
	s, err := nbd.NewServer(nbd.Config{Backend: b, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	addr, err := s.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return nbd.URI(addr.String(), "mem")
}
