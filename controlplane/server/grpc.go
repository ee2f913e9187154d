package server

import (
	"compress/gzip"
	"context"
	"io"

	"github.com/cloudwego/kitex/pkg/remote/codec/protobuf/encoding"
	"github.com/cloudwego/kitex/pkg/remote/trans/nphttp2/codes"
	"github.com/cloudwego/kitex/pkg/remote/trans/nphttp2/status"
	"github.com/cloudwego/kitex/pkg/streaming"

	"github.com/ashlar-storage/ashlar/rpc/admin"
)

// Stock gRPC clients are served on the same port as the project's own: Kitex tells them by their
// first bytes. What it leaves to its user is here.

// unimplemented answers methods that this version does not have, so that a newer client can tell
// them from failures.
func unimplemented(_ context.Context, method string, _ streaming.Stream) error {
	return status.Errorf(codes.Unimplemented, "control: this version has no method %.80q", method)
}

// init registers the compression that most clients offer with every call, used or not: Kitex
// refuses those calls otherwise.
func init() { encoding.RegisterCompressor(gzipped{}) }

// gzipped is gzip with a bound on what comes out of it: Kitex unpacks a message before it looks at
// its size.
type gzipped struct{}

func (gzipped) Name() string { return "gzip" }

func (gzipped) Compress(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }

func (gzipped) Decompress(r io.Reader) (io.Reader, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	return &bounded{r: z, left: admin.MaxFrameBytes}, nil
}

// bounded fails where io.LimitReader would end.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, status.Errorf(codes.ResourceExhausted, "control: a compressed message has more "+
			"than %d bytes", int64(admin.MaxFrameBytes))
	}
	return n, err
}
