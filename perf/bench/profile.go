package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/ashlar-storage/ashlar/perf/engine"
	"github.com/ashlar-storage/ashlar/perf/load"
)

// profileTime is how long each kind of profile takes, in seconds.
var profileTime = map[string]int{"profile": 8, "trace": 1}

// profiles writes the CPU profile and an execution trace of one node under each load of the native
// client, and its allocation profiles before and after (pprof -base shows the difference).
func (b *bench) profiles(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	for _, c := range b.selected() {
		if c.who != byNative || c.volumes > 0 {
			continue
		}
		say("profile  %s", c.name)
		if err := b.profile(ctx, &c, dir); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) profile(ctx context.Context, c *benchCase, dir string) error {
	loadCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := load.Run(loadCtx, engine.Volume{V: b.volume}, b.nativeJob(c, 2000, time.Hour))
		ended <- err
	}()
	if err := pause(ctx, settle); err != nil {
		return err
	}
	node, path := b.cluster.Nodes()[0], filepath.Join(dir, c.name)
	err := allocations(ctx, node.Admin, path+".allocs.base")
	for _, what := range []string{"profile", "trace"} {
		if err == nil {
			url := fmt.Sprintf("http://%s/debug/pprof/%s?seconds=%d", node.Admin, what,
				profileTime[what])
			err = download(ctx, url, path+"."+what)
		}
	}
	if err == nil {
		err = allocations(ctx, node.Admin, path+".allocs")
	}
	cancel()
	<-ended // its error is that of the cancelled context
	return err
}

// allocations writes the profile of what was allocated since the node started. The runtime makes an
// allocation part of it at the second collection after.
func allocations(ctx context.Context, admin, path string) error {
	for range 3 {
		err := download(ctx, "http://"+admin+"/debug/pprof/heap?gc=1", os.DevNull)
		if err != nil {
			return err
		}
	}
	return download(ctx, "http://"+admin+"/debug/pprof/allocs", path)
}

func download(ctx context.Context, url, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("bench: %s: %s", url, resp.Status)
	}
	out, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	_, err = io.Copy(out, resp.Body)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	return err
}
