package ops

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Healthz serves whether a process can be relied on now: 200 and "ok", or 503 and a line for each
// thing that is wrong. check tells them. It may come to hang on the very thing that is wrong, so it
// is waited for no longer than healthTime, one at a time runs, and its age is then what is wrong.
func Healthz(check func() []error) http.Handler { return &healthz{check: check} }

type healthz struct {
	check func() []error

	mu    sync.Mutex
	began time.Time     // of the check that is under way; zero: none is
	done  chan struct{} // closed when it has ended
	found []error       // by the last one that ended
}

// ServeHTTP implements http.Handler.
func (h *healthz) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	began, done := h.begin()
	timer := time.NewTimer(healthTime)
	defer timer.Stop()
	var found []error
	select {
	case <-r.Context().Done():
		return
	case <-done:
		h.mu.Lock()
		found = h.found
		h.mu.Unlock()
	case <-timer.C:
		found = []error{fmt.Errorf("the process has not said for %v how it is: see "+
			"/debug/pprof/goroutine?debug=2", time.Since(began).Round(time.Second))}
	}
	if len(found) == 0 {
		_, _ = w.Write([]byte("ok\n"))
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	for _, err := range found {
		_, _ = fmt.Fprintln(w, strings.ReplaceAll(err.Error(), "\n", " "))
	}
}

// begin starts a check, or joins the one that is under way.
func (h *healthz) begin() (began time.Time, done chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.began.IsZero() {
		return h.began, h.done
	}
	h.began, h.done = time.Now(), make(chan struct{})
	done = h.done
	go func() {
		found := h.check()
		h.mu.Lock()
		h.found, h.began = found, time.Time{}
		h.mu.Unlock()
		close(done)
	}()
	return h.began, done
}
