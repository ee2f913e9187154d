package admin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/cloudwego/kitex/pkg/kerrors"
	"github.com/cloudwego/kitex/pkg/remote/trans/nphttp2/codes"
	"github.com/cloudwego/kitex/pkg/remote/trans/nphttp2/status"
)

// Error classes of the control plane. They cross the wire as numbers, so that errors.Is works on
// both sides; the numbers are those of the canonical gRPC codes.
var (
	// ErrInvalid: the request itself is wrong; the text names the field and the fix.
	ErrInvalid = errors.New("invalid request")
	// ErrNotFound: the named thing does not exist.
	ErrNotFound = errors.New("not found")
	// ErrExists: the name is taken.
	ErrExists = errors.New("already exists")
	// ErrNoSpace: the pool cannot hold what was asked for.
	ErrNoSpace = errors.New("no space")
	// ErrForeign: the caller belongs to another cluster, or speaks for an identity not its own.
	// Repeating the call cannot help.
	ErrForeign = errors.New("belongs to another cluster")
	// ErrBusy: the thing is in a state that forbids the call now, a later call may succeed.
	ErrBusy = errors.New("busy")
	// ErrUnavailable: no answer, or the cluster cannot serve this yet.
	ErrUnavailable = errors.New("unavailable")
	// ErrNotActive: this control plane is not the one that serves, and did nothing; Error.Active
	// is the one that does, if it is known. It is ErrUnavailable too.
	ErrNotActive = fmt.Errorf("%w: not the active control plane", ErrUnavailable)
	// ErrInternal: the control plane failed in a way that has no class of its own.
	ErrInternal = errors.New("internal error")
	// ErrClosed: the Clients value was closed.
	ErrClosed = errors.New("admin: client is closed")
)

// classes maps each class to its number on the wire. Numbers never change meaning.
var classes = []struct {
	code  int32
	class error
}{
	{3, ErrInvalid},
	{5, ErrNotFound},
	{6, ErrExists},
	{8, ErrNoSpace},
	{9, ErrForeign},
	{10, ErrBusy},
	{13, ErrInternal},
	{14, ErrUnavailable},
}

// Error is an error of the control plane: a class and a text for people.
type Error struct {
	Class error  // one of the Err values of this package
	Text  string // complete, says what was wrong and with which object
	// Active is, with ErrNotActive, the endpoint to ask instead; empty: none serves now.
	Active string
}

// Error returns the text alone: it already says what happened.
func (e *Error) Error() string { return e.Text }

// Unwrap returns the class.
func (e *Error) Unwrap() error { return e.Class }

// Errorf makes an error of a class. The text should stand by itself; the class adds none.
func Errorf(class error, format string, args ...any) error {
	return &Error{Class: class, Text: fmt.Sprintf(format, args...)}
}

// WireError turns an error of a handler into one that Kitex carries with its class. Errors
// without a class become ErrInternal. It returns nil for nil.
func WireError(err error) error {
	if err == nil {
		return nil
	}
	code := int32(13)
	for _, c := range classes {
		if errors.Is(err, c.class) {
			code = c.code
			break
		}
	}
	text := cut(err.Error(), maxErrorText)
	var extra map[string]string
	var classed *Error
	if errors.As(err, &classed) && errors.Is(err, ErrNotActive) {
		extra = map[string]string{activeExtra: cut(classed.Active, maxEndpointText)}
	}
	wire := kerrors.NewGRPCBizStatusErrorWithExtra(code, text, extra)
	if e, ok := wire.(kerrors.GRPCStatusIface); ok { // without it a gRPC client sees Internal
		e.SetGRPCStatus(status.New(codes.Code(code), text))
	}
	return wire
}

// activeExtra is the name beside the class ErrUnavailable that makes it ErrNotActive. To programs
// that do not know it, the class alone says what they need.
const activeExtra = "active"

// fromWire is WireError's inverse; it returns nil when the error did not come from a handler.
func fromWire(err error) error {
	biz, ok := kerrors.FromBizStatusError(err)
	if !ok {
		return nil
	}
	if active, ok := biz.BizExtra()[activeExtra]; ok {
		return &Error{Class: ErrNotActive, Text: biz.BizMessage(), Active: active}
	}
	for _, c := range classes {
		if c.code == biz.BizStatusCode() {
			return &Error{Class: c.class, Text: biz.BizMessage()}
		}
	}
	text := fmt.Sprintf("%s (class %d, unknown to this version)",
		biz.BizMessage(), biz.BizStatusCode())
	return &Error{Class: ErrInternal, Text: text}
}

// callError is a call that got no answer. It has the class ErrUnavailable and keeps its cause.
type callError struct {
	method, endpoint string
	cause            error
	text             string
}

func (e *callError) Error() string {
	return fmt.Sprintf("admin: %s at %s: %s", e.method, e.endpoint, e.text)
}

func (e *callError) Unwrap() []error { return []error{ErrUnavailable, e.cause} }

func newCallError(ctx context.Context, method, endpoint string, err error) error {
	e := &callError{method: method, endpoint: endpoint, cause: err, text: err.Error()}
	switch {
	case ctx.Err() != nil:
		e.cause, e.text = ctx.Err(), "no answer: "+ctx.Err().Error()
	case errors.Is(err, context.DeadlineExceeded) || kerrors.IsTimeoutError(err):
		e.cause, e.text = context.DeadlineExceeded, "no answer within the time limit"
	case errors.Is(err, kerrors.ErrGetConnection):
		e.text = "cannot connect: " + connectText(err)
	}
	return e
}

// connectText says why a connection failed. The network library reports a refused connection as one
// closed by the peer, which would send the reader looking at the wrong thing.
func connectText(err error) string {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		if !errors.Is(inner, kerrors.ErrGetConnection) {
			break
		}
		err = inner
	}
	text := strings.TrimPrefix(err.Error(), kerrors.ErrGetConnection.Error()+": ")
	if strings.HasSuffix(text, "connection has been closed by peer") {
		return "connection refused"
	}
	return text
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
