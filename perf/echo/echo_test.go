package echo

import (
	"context"
	"testing"
	"time"
)

func TestFramesComeBackAndAreTimed(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	addr, done := make(chan string, 1), make(chan error, 1)
	go func() { done <- Serve(ctx, "127.0.0.1:0", func(a string) { addr <- a }) }()
	h, err := Measure(ctx, <-addr, 4096, 30*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if h.Count() == 0 || h.Percentile(50) == 0 {
		t.Errorf("%d round trips, p50 %d ns", h.Count(), h.Percentile(50))
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
