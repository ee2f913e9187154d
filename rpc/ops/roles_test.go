package ops

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ashlar-storage/ashlar/rpc/ops/opstest"
)

// given makes a token for each role, and the file that gives them to their owners.
func given(t *testing.T) (file string, tokens map[Role]string) {
	t.Helper()
	tokens = map[Role]string{}
	var lines []string
	for _, r := range []Role{Viewer, Tracer} {
		token, line, err := NewToken(Owner{Name: "a." + r.String(), Role: r})
		if err != nil {
			t.Fatal(err)
		}
		tokens[r], lines = token, append(lines, line)
	}
	file = filepath.Join(t.TempDir(), "tokens")
	write(t, file, "# who may\n\n"+strings.Join(lines, "\n")+"\n")
	return file, tokens
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// pages has one page that is guarded beside the usual ones.
func pages(t *testing.T, tokens string) *Pages {
	t.Helper()
	p, err := NewPages(http.NotFoundHandler(), Config{Tokens: tokens, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	name := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, OwnerOf(r).Name)
	}
	p.Handle("GET /open", Viewer, http.HandlerFunc(name))
	p.Guarded("GET /trace", Tracer, http.HandlerFunc(name))
	return p
}

func ask(p *Pages, path, token string) (int, string) {
	r := httptest.NewRequest("GET", path, nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestPagesAreServedToThoseWhoHaveTheRole(t *testing.T) {
	file, tokens := given(t)
	with, without := pages(t, file), pages(t, "")
	for _, c := range []struct {
		pages       *Pages
		path, token string
		code        int
		body        string
	}{
		{without, "/open", "", 200, ""},
		{without, "/debug/pprof/cmdline", "", 200, ""},
		{without, "/trace", "", 403, "admin_tokens"},
		{without, "/trace", tokens[Tracer], 403, "admin_tokens"},
		{with, "/open", "", 401, "role viewer"},
		{with, "/open", "guess", 401, "nobody's"},
		{with, "/open", tokens[Viewer], 200, "a.viewer"},
		{with, "/open", tokens[Tracer], 200, "a.tracer"},
		{with, "/debug/pprof/cmdline", tokens[Viewer], 403, "needs the role tracer"},
		{with, "/debug/pprof/cmdline", tokens[Tracer], 200, ""},
		{with, "/trace", tokens[Viewer], 403, "needs the role tracer; a.viewer has viewer"},
		{with, "/trace", tokens[Tracer], 200, "a.tracer"},
	} {
		code, body := ask(c.pages, c.path, c.token)
		if code != c.code || !strings.Contains(body, c.body) {
			t.Errorf("%s with %.6q: %d %q, want %d and %q", c.path, c.token, code, body, c.code,
				c.body)
		}
	}
}

func TestTokenThatIsTakenAwayLetsNobodyIn(t *testing.T) {
	file, tokens := given(t)
	p := pages(t, file)
	if code, _ := ask(p, "/trace", tokens[Tracer]); code != 200 {
		t.Fatal(code)
	}
	write(t, file, "# nobody\n")
	if code, _ := ask(p, "/trace", tokens[Tracer]); code != 401 {
		t.Errorf("a token that was taken away is answered %d", code)
	}
	write(t, file, "nonsense\n")
	if code, _ := ask(p, "/trace", tokens[Tracer]); code != 503 {
		t.Errorf("with a file that makes no sense the answer is %d", code)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if code, _ := ask(p, "/trace", tokens[Tracer]); code != 503 {
		t.Errorf("without the file the answer is %d", code)
	}
}

func TestFilesOfTokensThatMakeNoSenseAreRefused(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	for text, want := range map[string]string{
		"viewer alice":                                    "line 1: 2 words",
		"\nking alice " + sum:                             "line 2: ops: role \"king\"",
		"nobody alice " + sum:                             "role \"nobody\"",
		"viewer alice abcd":                               "not a SHA-256",
		"viewer #a " + sum:                                "owner \"#a\"",
		"viewer a " + sum + "\ntracer b " + sum:           "line 2: the token of an earlier line",
		"viewer " + strings.Repeat("x", 65) + " " + sum:   "owner",
		"# " + strings.Repeat("x", maxTokenFile) + "\n\n": "larger than",
	} {
		file := filepath.Join(t.TempDir(), "tokens")
		write(t, file, text)
		_, err := OpenTokens(file)
		if !errors.Is(err, ErrTokens) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
	if _, err := OpenTokens(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestListenerWithACertificateSpeaksTLSOnly(t *testing.T) {
	cert, key := opstest.Certificate(t, net.IPv4(127, 0, 0, 1))
	text, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	l, err := Listen(Config{Addr: ":0", Cert: cert, Key: key, Logger: quiet()},
		http.NotFoundHandler())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if !strings.HasPrefix(l.URL(), "https://127.0.0.1:") {
		t.Errorf("it is at %s", l.URL())
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{RootCAs: pool}}}
	resp, err := client.Get(l.URL())
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	plain, err := client.Get("http://" + l.Addr())
	if err == nil {
		plain.Body.Close()
		if plain.StatusCode != http.StatusBadRequest {
			t.Errorf("without TLS the answer is %d", plain.StatusCode)
		}
	}
	for _, bad := range []Config{{Cert: cert}, {Key: key}, {Cert: key, Key: cert},
		{Cert: "none", Key: "none"}} {
		bad.Addr, bad.Logger = ":0", quiet()
		if l, err := Listen(bad, http.NotFoundHandler()); err == nil {
			t.Errorf("%+v is taken", bad)
			l.Close()
		}
	}
}
