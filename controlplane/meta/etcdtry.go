package meta

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// try runs a request that may be repeated until it is answered, or ctx or etcdLimit ends. Each try
// goes to another member.
func try[R any](ctx context.Context, what string, fn func(context.Context) (R, error)) (R, error) {
	ctx, cancel := context.WithTimeout(ctx, etcdLimit)
	defer cancel()
	for {
		one, done := context.WithTimeout(ctx, etcdTry)
		resp, err := fn(one)
		done()
		if err == nil {
			return resp, nil
		}
		if answered(err) || !pause(ctx, etcdPause) {
			return resp, explain(what, err)
		}
	}
}

// pause waits; it returns false when ctx ended meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// codeOf is the class that etcd, its client or gRPC gave an error.
func codeOf(err error) codes.Code {
	var known rpctypes.EtcdError
	switch {
	case errors.As(err, &known):
		return known.Code()
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		return codes.Canceled
	}
	return status.Code(err)
}

// answered says that the error is etcd's last word on a request: nothing of it is under way any
// more. Without that nobody knows whether it will be carried out.
func answered(err error) bool {
	switch codeOf(err) {
	case codes.InvalidArgument, codes.PermissionDenied, codes.Unauthenticated, codes.NotFound,
		codes.FailedPrecondition, codes.ResourceExhausted, codes.OutOfRange,
		codes.Unimplemented:
		return true
	}
	return false
}

// explain gives an error of etcd its class, and the way out where there is one.
func explain(what string, err error) error {
	fix := ""
	switch {
	case errors.Is(err, rpctypes.ErrNoSpace):
		fix = "; etcd is out of space: compact and defragment it, or raise " +
			"--quota-backend-bytes, then `etcdctl alarm disarm`"
	case errors.Is(err, rpctypes.ErrTooManyOps), errors.Is(err, rpctypes.ErrRequestTooLarge):
		fix = "; etcd must run with --max-txn-ops 128 and --max-request-bytes 1572864 or more, " +
			"which are its defaults"
	case errors.Is(err, rpctypes.ErrCompacted):
		fix = "; etcd compacted its history while it was read, try again"
	case codeOf(err) == codes.PermissionDenied, codeOf(err) == codes.Unauthenticated,
		errors.Is(err, rpctypes.ErrAuthFailed), errors.Is(err, rpctypes.ErrUserEmpty):
		fix = "; check the user, its password and its role: it needs to read and write the prefix"
	}
	return fmt.Errorf("%w: %s: %w%s", ErrUnavailable, what, err, fix)
}
