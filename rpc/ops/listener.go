package ops

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
)

// Config says where a process listens for its operator, and whom it answers.
type Config struct {
	Addr string // host:port; empty: nowhere
	// Cert and Key are PEM files with which it speaks TLS; both, or neither.
	Cert, Key string
	Tokens    string // a file, see Tokens; empty: none
	Logger    *slog.Logger
}

// Listener is one that runs.
type Listener struct {
	server *http.Server
	addr   string
	scheme string
	done   chan struct{}
}

// Listen serves h where the configuration says; nil when that is nowhere.
func Listen(cfg Config, h http.Handler) (*Listener, error) {
	if cfg.Addr == "" {
		return nil, nil
	}
	ln, err := cfg.listen()
	if err != nil {
		return nil, err
	}
	l := &Listener{addr: ln.Addr().String(), scheme: "http", done: make(chan struct{})}
	l.server = &http.Server{Handler: h, ReadTimeout: readTime, WriteTimeout: writeTime,
		MaxHeaderBytes: headerBytes,
		ErrorLog:       slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug)}
	serve := func() error { return l.server.Serve(ln) }
	if cfg.Cert != "" {
		l.scheme = "https"
		l.server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS13,
			GetCertificate: cfg.certificate}
		serve = func() error { return l.server.ServeTLS(ln, "", "") }
	}
	go func() {
		defer close(l.done)
		if err := serve(); !errors.Is(err, http.ErrServerClosed) {
			cfg.Logger.Error("admin listener stopped", "err", err)
		}
	}()
	cfg.Logger.Info("admin listener", "url", l.URL())
	return l, nil
}

func (cfg *Config) listen() (net.Listener, error) {
	host, port, err := net.SplitHostPort(cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("ops: admin address %q: %w: write it as 127.0.0.1:7402", cfg.Addr,
			err)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	if (cfg.Cert == "") != (cfg.Key == "") {
		return nil, errors.New("ops: a certificate without its key, or a key without its " +
			"certificate: give both files")
	}
	if cfg.Cert != "" {
		if _, err := cfg.certificate(nil); err != nil {
			return nil, err
		}
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("ops: admin listener: %w", err)
	}
	return ln, nil
}

// certificate is read for each connection: there are few, and one that was renewed counts at once.
func (cfg *Config) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(cfg.Cert, cfg.Key)
	if err != nil {
		return nil, fmt.Errorf("ops: certificate %s with key %s: %w", cfg.Cert, cfg.Key, err)
	}
	return &cert, nil
}

// Addr is where it listens.
func (l *Listener) Addr() string { return l.addr }

// URL is where it listens, and how; "" on nil.
func (l *Listener) URL() string {
	if l == nil {
		return ""
	}
	return l.scheme + "://" + l.addr
}

// Close ends it and every connection. On nil it does nothing.
func (l *Listener) Close() error {
	if l == nil {
		return nil
	}
	err := l.server.Close()
	<-l.done
	return err
}
