package ops

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func health(h http.Handler) (int, string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/healthz", nil))
	return w.Code, w.Body.String()
}

func TestHealthTellsWhatIsWrongAndThatNothingIs(t *testing.T) {
	var wrong []error
	h := Healthz(func() []error { return wrong })
	if code, body := health(h); code != 200 || body != "ok\n" {
		t.Errorf("when nothing is wrong: %d %q", code, body)
	}
	wrong = []error{errors.New("a disk\nhangs"), errors.New("another")}
	if code, body := health(h); code != 503 || body != "a disk hangs\nanother\n" {
		t.Errorf("when two things are wrong: %d %q", code, body)
	}
}

func TestHealthThatHangsIsWhatIsWrong(t *testing.T) {
	free, checks := make(chan struct{}), 0
	h := Healthz(func() []error { checks++; <-free; return nil })
	for range 2 {
		began := time.Now()
		code, body := health(h)
		if code != 503 || !strings.Contains(body, "not said for") {
			t.Errorf("%d %q", code, body)
		}
		if took := time.Since(began); took > 5*healthTime {
			t.Errorf("the answer took %v", took)
		}
	}
	close(free)
	for code, end := 0, time.Now().Add(10*time.Second); code != 200; {
		if code, _ = health(h); time.Now().After(end) {
			t.Fatal("never well again")
		}
	}
	if checks > 2 {
		t.Errorf("%d checks were begun while one hung", checks)
	}
}

func TestHealthIsForEverybody(t *testing.T) {
	file, _ := given(t)
	p := pages(t, file)
	p.Open("GET /healthz", Healthz(func() []error { return nil }))
	if code, body := ask(p, "/healthz", ""); code != 200 || body != "ok\n" {
		t.Errorf("without a token: %d %q", code, body)
	}
}
