// Package admin is the way to the control plane: the generated Kitex clients of its three
// services behind one Dial, and the error classes that cross the wire.
//
// # Promises
//
//   - Every call has a time limit: the deadline of its context, or DefaultCallTimeout when the
//     context has none. A connection attempt takes DefaultConnectTimeout at most.
//   - No call is carried out twice. One is sent again only when it certainly was not carried out:
//     where no connection could be made, or the control plane that got it is not the one that
//     serves. Whoever wants more decides it, because most calls are not idempotent.
//   - With several endpoints, calls find the one that serves, and wait within their time limit for
//     one to be elected. When none of them can be connected to, a call fails at once.
//   - Errors keep their class: errors.Is(err, ErrNotFound) holds on the client when the server
//     returned an error of that class, and Error() is the server's own text. A call that never
//     got an answer is ErrUnavailable, and also context.DeadlineExceeded or context.Canceled
//     where that was the reason.
//   - A call that is ErrUnavailable may have been carried out; ask before repeating it.
//
// # Limits
//
// Connections are pooled per Clients value and closed after a minute without use; see limits.go.
// The transport is TTHeader over TCP with protobuf payloads, without encryption. Stock gRPC clients
// are served on the same port: docs/api.md says what they get, and which rules the interface in
// idl/ follows. After a change there:
//
//	go tool kitex -type protobuf -module github.com/ashlar-storage/ashlar -I rpc/admin/idl \
//		-gen-path rpc/admin/kitex_gen rpc/admin/idl/ashlar.proto
//	go test ./rpc/admin -run Interface -update
//
// # Use
//
//	c, err := admin.Dial("10.0.0.1:7400,10.0.0.2:7400")
//	defer c.Close()
//	got, err := c.Admin.GetVolume(ctx, &v1.GetVolumeRequest{Name: "db"})
//	if errors.Is(err, admin.ErrNotFound) { ... }
//
// Kitex and its logger are process-wide; this package redirects that logger to slog at debug
// level when it is imported, and SetLogger chooses the logger.
package admin
