package admin

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"

	"github.com/cloudwego/kitex/pkg/klog"
)

// Kitex logs through one process-wide logger, and setting it is not safe beside running clients.
// It is therefore replaced once, before anything can run; only its target can change later.
func init() { klog.SetLogger(kitexLog{}) }

var kitexTarget atomic.Pointer[slog.Logger]

// SetLogger chooses where Kitex's own messages go, at debug level: what matters of them comes back
// as errors of calls. Nil means slog.Default(). Safe at any time.
func SetLogger(l *slog.Logger) { kitexTarget.Store(l) }

// kitexLog hands Kitex's messages to slog. Fatal does not end the process: no library may.
type kitexLog struct{}

func (k kitexLog) line(sev string, v []any) {
	k.linef(context.Background(), sev, "%s", []any{fmt.Sprint(v...)})
}

func (k kitexLog) linef(ctx context.Context, sev, format string, v []any) {
	l := kitexTarget.Load()
	if l == nil {
		l = slog.Default()
	}
	if l.Enabled(ctx, slog.LevelDebug) {
		l.DebugContext(ctx, fmt.Sprintf(format, v...), "source", "kitex", "severity", sev)
	}
}

func (k kitexLog) Trace(v ...any)  { k.line("trace", v) }
func (k kitexLog) Debug(v ...any)  { k.line("debug", v) }
func (k kitexLog) Info(v ...any)   { k.line("info", v) }
func (k kitexLog) Notice(v ...any) { k.line("notice", v) }
func (k kitexLog) Warn(v ...any)   { k.line("warn", v) }
func (k kitexLog) Error(v ...any)  { k.line("error", v) }
func (k kitexLog) Fatal(v ...any)  { k.line("fatal", v) }

func (k kitexLog) Tracef(f string, v ...any)  { k.linef(context.Background(), "trace", f, v) }
func (k kitexLog) Debugf(f string, v ...any)  { k.linef(context.Background(), "debug", f, v) }
func (k kitexLog) Infof(f string, v ...any)   { k.linef(context.Background(), "info", f, v) }
func (k kitexLog) Noticef(f string, v ...any) { k.linef(context.Background(), "notice", f, v) }
func (k kitexLog) Warnf(f string, v ...any)   { k.linef(context.Background(), "warn", f, v) }
func (k kitexLog) Errorf(f string, v ...any)  { k.linef(context.Background(), "error", f, v) }
func (k kitexLog) Fatalf(f string, v ...any)  { k.linef(context.Background(), "fatal", f, v) }

func (k kitexLog) CtxTracef(c context.Context, f string, v ...any)  { k.linef(c, "trace", f, v) }
func (k kitexLog) CtxDebugf(c context.Context, f string, v ...any)  { k.linef(c, "debug", f, v) }
func (k kitexLog) CtxInfof(c context.Context, f string, v ...any)   { k.linef(c, "info", f, v) }
func (k kitexLog) CtxNoticef(c context.Context, f string, v ...any) { k.linef(c, "notice", f, v) }
func (k kitexLog) CtxWarnf(c context.Context, f string, v ...any)   { k.linef(c, "warn", f, v) }
func (k kitexLog) CtxErrorf(c context.Context, f string, v ...any)  { k.linef(c, "error", f, v) }
func (k kitexLog) CtxFatalf(c context.Context, f string, v ...any)  { k.linef(c, "fatal", f, v) }

func (kitexLog) SetLevel(klog.Level) {}
func (kitexLog) SetOutput(io.Writer) {}
