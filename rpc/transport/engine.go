package transport

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/panjf2000/gnet/v2"
)

// engine is what gnet's event loops call; each connection's state travels in
// the gnet connection's context.
type engine struct{ server *Server }

func (e *engine) OnBoot(gnet.Engine) gnet.Action       { return gnet.None }
func (e *engine) OnShutdown(gnet.Engine)               {}
func (e *engine) OnTick() (time.Duration, gnet.Action) { return time.Hour, gnet.None }

func (e *engine) OnOpen(gc gnet.Conn) ([]byte, gnet.Action) {
	c := gc.Context().(*serverConn)
	c.mu.Lock()
	c.gc, c.fd, c.loop = gc, gc.Fd(), gc.EventLoop()
	c.mu.Unlock()
	if c.closing.Load() {
		return nil, gnet.Close
	}
	return nil, gnet.None
}

func (e *engine) OnClose(gc gnet.Conn, err error) gnet.Action {
	gc.Context().(*serverConn).onClose(err)
	return gnet.None
}

func (e *engine) OnTraffic(gc gnet.Conn) gnet.Action {
	c := gc.Context().(*serverConn)
	// All bytes are consumed here each time, so gnet never keeps (and copies)
	// any: p is the loop's read buffer itself.
	p, err := gc.Next(-1)
	if err != nil {
		c.fail(err)
		return gnet.Close
	}
	c.onTraffic(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing.Load() && c.closeDueLocked() {
		return gnet.Close
	}
	return gnet.None
}

// loopLogger hands gnet's own log lines on: what it calls an error is
// mostly a connection that went away.
type loopLogger struct{ log *slog.Logger }

func (l loopLogger) Debugf(string, ...any) {}
func (l loopLogger) Infof(string, ...any)  {}

func (l loopLogger) Warnf(format string, args ...any) {
	l.log.Debug("transport: event loop: " + fmt.Sprintf(format, args...))
}

func (l loopLogger) Errorf(format string, args ...any) {
	l.log.Warn("transport: event loop: " + fmt.Sprintf(format, args...))
}

func (l loopLogger) Fatalf(format string, args ...any) {
	l.log.Error("transport: event loop: " + fmt.Sprintf(format, args...))
}
