package daemon

import (
	"fmt"
	"log/slog"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/config"
	"github.com/ashlar-storage/ashlar/rpc/dial"
	"github.com/ashlar-storage/ashlar/rpc/rdma/ibv"
	"github.com/ashlar-storage/ashlar/rpc/transport"
)

// transportOf is what rpc/dial needs of the settings. A key file that is not as it must be ends the
// daemon: starting without would open the card to everybody.
func transportOf(t config.Transport, log *slog.Logger) (dial.Config, error) {
	mode, err := dial.ParseMode(t.Transport)
	if err != nil {
		return dial.Config{}, fmt.Errorf("%w: transport: %w", config.ErrInvalid, err)
	}
	key, err := dial.ReadKey(t.Key)
	if err != nil {
		return dial.Config{}, fmt.Errorf("%w: transport_key: %w", config.ErrInvalid, err)
	}
	zero, err := transport.ParseZeroCopy(t.ZeroCopy)
	if err != nil {
		return dial.Config{}, fmt.Errorf("%w: tcp_zerocopy: %w", config.ErrInvalid, err)
	}
	c := t.Card
	return dial.Config{Mode: mode, Key: key, Logger: log, ZeroCopy: zero,
		Card: ibv.Options{Device: c.Device, Port: c.Port, GIDIndex: c.GIDIndex, MTU: c.MTU}}, nil
}
