package daemon

import (
	"context"
	"log/slog"
	"sync"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
)

// A supervisor that starts a daemon as one of systemd's Type=notify learns from the daemon itself
// when it serves, that it lives, and that it stops: a process that exists may be reading its log
// still, or hang. Without NOTIFY_SOCKET in its environment a daemon tells nobody.

// announce tells that the daemon serves, and from then on, as often as the supervisor wants it,
// that it lives, as long as alive says so: one that is asked and does not answer says nothing, and
// is started again. When ctx ends it tells that the daemon stops. The end must be called before the
// daemon is gone.
func announce(ctx context.Context, log *slog.Logger, alive func() bool) (end func()) {
	told, err := systemd.SdNotify(false, systemd.SdNotifyReady)
	if err != nil {
		log.Warn("the supervisor was not told that the daemon serves", "err", err)
	}
	if !told {
		return func() {}
	}
	every, err := systemd.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("the supervisor's watchdog is not understood, and gets nothing", "err", err)
	}
	stopped := make(chan struct{})
	if every > 0 {
		go feed(every/2, stopped, alive)
	}
	end = sync.OnceFunc(func() {
		close(stopped)
		_, _ = systemd.SdNotify(false, systemd.SdNotifyStopping)
	})
	context.AfterFunc(ctx, end)
	return end
}

// feed tells the watchdog that the daemon lives. alive may never answer: then nobody waits for this
// goroutine, and the watchdog acts.
func feed(every time.Duration, stopped <-chan struct{}, alive func() bool) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		if alive() {
			_, _ = systemd.SdNotify(false, systemd.SdNotifyWatchdog)
		}
		select {
		case <-stopped:
			return
		case <-t.C:
		}
	}
}
