// Package gateway serves the volumes of a cluster as NBD exports: it joins the block client
// (rpc/client) to the NBD server (rpc/nbd) and keeps itself listed at the control plane.
//
// An export is a volume of the same name. It is opened when the first connection asks for it,
// shared by every connection that asks for it while it is open, and closed after the last: a flush
// or FUA on one connection covers the writes of all, because a write is durable on a majority of
// replicas before it is answered, on whichever connection it came. Opening a volume fences whoever
// had it open before; a volume that was fenced here fails its requests with ESHUTDOWN and is opened
// anew for the next connection.
//
// What a client sees of failures: ENOSPC for full stores, EPERM for writes to a read-only export,
// ESHUTDOWN after fencing or while stopping, EIO for the rest, each after the client's deadline.
//
//	err := gateway.Run(ctx, gateway.Config{Name: "gw1", Control: "127.0.0.1:7400",
//		Listen: []string{"127.0.0.1:10809", "unix:/run/ashlar.sock"}})
package gateway
