package gateway

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ashlar-storage/ashlar/rpc/client"
	"github.com/ashlar-storage/ashlar/rpc/nbd"
	"github.com/ashlar-storage/ashlar/rpc/ops"
)

// tools is the admin listener of a gateway with an NBD server, and how to ask it.
func tools(t *testing.T, r *rig, cfg ops.Config) (ask func(page, token string) (int, string)) {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	server, err := nbd.NewServer(nbd.Config{Backend: r.backend, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Addr = "127.0.0.1:0"
	l, err := listenAdmin(counters{cfg: &Config{Name: "gw7", Version: "v3", Logger: quiet,
		Admin: cfg}, server: server, back: r.backend,
		net: func() client.NetStats { return client.NetStats{Peers: 3} }})
	if err != nil {
		t.Fatal(err)
	}
	caller := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	t.Cleanup(func() {
		if err := errors.Join(l.Close(), server.Close()); err != nil {
			t.Error(err)
		}
	})
	return func(page, token string) (int, string) {
		t.Helper()
		q, err := http.NewRequestWithContext(context.Background(), "GET", l.URL()+page, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			q.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := caller.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
}

func TestGatewayServesMetricsOfItselfAndOfTheVolumesInUse(t *testing.T) {
	r := newRig("a", "b")
	ask := tools(t, r, ops.Config{})
	export := r.lookup(t, "b")
	status, body := ask("/metrics", "")
	for _, want := range []string{`ashlar_gateway_info{gateway="gw7",version="v3"} 1`,
		"ashlar_gateway_connections 0", "ashlar_gateway_nodes 3",
		`ashlar_gateway_volume_operations_total{op="read",volume="b"} 7`,
		`ashlar_gateway_volume_inflight{volume="b"} 2`, "go_goroutines"} {
		if status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%d, no %s in\n%s", status, want, body)
		}
	}
	if strings.Contains(body, `volume="a"`) {
		t.Error("a volume is told of that nobody has open")
	}
	if err := export.Close(); err != nil {
		t.Fatal(err)
	}
	if _, body = ask("/metrics", ""); strings.Contains(body, `volume="b"`) {
		t.Error("a volume is told of that nobody has open any more")
	}
	if status, _ := ask("/debug/pprof/goroutine?debug=1", ""); status != http.StatusOK {
		t.Errorf("profiles: %d", status)
	}
}

func TestGatewayIsUnhealthyWhileClientsHoldAVolumeThatFailed(t *testing.T) {
	r := newRig("a")
	ask := tools(t, r, ops.Config{})
	export := r.lookup(t, "a")
	if status, body := ask("/healthz", ""); status != http.StatusOK || body != "ok\n" {
		t.Errorf("%d %q", status, body)
	}
	v := <-r.volumes
	v.mu.Lock()
	v.fatal = client.ErrFenced
	v.mu.Unlock()
	if status, body := ask("/healthz", ""); status != http.StatusServiceUnavailable ||
		!strings.HasPrefix(body, "volume a: ") {
		t.Errorf("%d %q", status, body)
	}
	_ = export.Close()
	if status, body := ask("/healthz", ""); status != http.StatusOK {
		t.Errorf("after its client left: %d %q", status, body)
	}
}

func TestGatewayAsksForTokensWhereItHasSome(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens")
	line := fmt.Sprintf("viewer bob %x\n", sha256.Sum256([]byte("secret")))
	if err := os.WriteFile(file, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	ask := tools(t, newRig("a"), ops.Config{Tokens: file})
	for _, c := range []struct {
		page, token string
		want        int
	}{
		{"/healthz", "", http.StatusOK},
		{"/metrics", "", http.StatusUnauthorized},
		{"/metrics", "secret", http.StatusOK},
		{"/debug/pprof/goroutine?debug=1", "secret", http.StatusForbidden},
	} {
		if status, body := ask(c.page, c.token); status != c.want {
			t.Errorf("%s with %q: %d %s, want %d", c.page, c.token, status, body, c.want)
		}
	}
}
