package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/ashlar-storage/ashlar/perf/load"
)

const (
	profileSeconds = 8
	traceSeconds   = 1
)

// profiles writes CPU and allocation profiles of one node, and an execution trace, under each load
// of the native client.
func (b *bench) profiles(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	for _, c := range b.selected() {
		if c.who != "native" {
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
		_, err := load.Run(loadCtx, load.Volume{V: b.volume}, b.nativeJob(c, 2000, time.Hour))
		ended <- err
	}()
	// Profiles of allocations end with the last collection: the first seconds keep the case before
	// out of this one's.
	if err := pause(ctx, settle); err != nil {
		return err
	}
	errs := make(chan error, 2)
	node := b.cluster.Nodes()[0]
	_ = download(ctx, "http://"+node.Admin+"/debug/pprof/heap?gc=1", os.DevNull)
	fetch := func(what string, seconds int) {
		url := fmt.Sprintf("http://%s/debug/pprof/%s?seconds=%d", node.Admin, what, seconds)
		errs <- download(ctx, url, filepath.Join(dir, c.name+"."+what))
	}
	go fetch("profile", profileSeconds)
	go fetch("allocs", profileSeconds)
	err := <-errs
	if err2 := <-errs; err == nil {
		err = err2
	}
	if err == nil {
		go fetch("trace", traceSeconds)
		err = <-errs
	}
	cancel()
	<-ended // its error is that of the cancelled context
	return err
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
