package daemon

import (
	"errors"
	"log/slog"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/config"
	"github.com/ashlar-storage/ashlar/rpc/ops"
)

// ErrRefused marks a data directory that cannot be used, however often it is tried.
var ErrRefused = errors.New("daemon: data refused")

// adminOf is where a daemon's admin listener is, by its settings.
func adminOf(a config.Admin) ops.Config {
	return ops.Config{Addr: a.Addr, Cert: a.Cert, Key: a.Key, Tokens: a.Tokens}
}

// Env is what every daemon is given besides its settings.
type Env struct {
	Version string
	Logger  *slog.Logger
}
