package daemon

import (
	"errors"
	"log/slog"
)

// ErrRefused marks a data directory that cannot be used, however often it is tried.
var ErrRefused = errors.New("daemon: data refused")

// Env is what every daemon is given besides its settings.
type Env struct {
	Version string
	Logger  *slog.Logger
}
