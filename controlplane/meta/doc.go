// Package meta keeps what the control plane must not forget: topology, copysets, volumes, the
// mapping of their segments, sessions, events and counters.
//
// It has two layers. KV is the seam: ordered byte keys with serialisable transactions, prefix
// scans and watches. On top are typed tables (Nodes, Stores, Copysets, Volumes, Segments,
// Sessions, Events, Directory) and counters, which work over any KV.
//
// # Promises
//
//   - A transaction whose Update returned nil survives the loss of the process and of power; one
//     that returned an error left nothing behind, except where the error is ErrFailed.
//   - Transactions are serialisable. The function given to Update may run more than once: it must
//     have no effect but through its Tx.
//   - Identifiers drawn from counters are never given out twice.
//   - A directory that something else wrote, one written by a newer version, and one that another
//     process has open are refused, and the error says which of these it is.
//
// # How it fails
//
// After a commit whose outcome is unknown the KV is failed for good: every later call returns
// ErrFailed with the cause, and a restart reads what is really there. A value that does not decode
// is ErrCorrupt with table and key; one of a newer version is ErrVersion.
//
// # Limits
//
// One transaction holds at most MaxTxnBytes; see limits.go. A watch that its reader leaves
// unread for too long ends in ErrLagged, after which the reader scans again.
//
// # Pebble, and what comes beside it
//
// OpenPebble is the embedded implementation: one writer at a time, a synced batch per transaction.
// A directory that has served one process cannot be shared with another, so there is one control
// plane process. High availability needs a second implementation of KV on etcd: its Update is a
// compare of mod-revisions of what was read (hence the rerun), its Watch starts at a revision, and
// lease and election are etcd's own (a key bound to a lease, granted to the process that created
// it first). They join KV as Campaign(ctx, name) (Leadership, error), whose Leadership fences
// every Update by the revision of the election key; tables and callers stay as they are.
//
// # Use
//
//	kv, err := meta.OpenPebble(dir, meta.PebbleConfig{})
//	id, err := meta.Init(ctx, kv)
//	err = kv.Update(ctx, func(tx meta.Tx) error {
//		n, err := meta.NextID(tx, meta.CounterNode)
//		if err != nil {
//			return err
//		}
//		return meta.Nodes.Put(tx, meta.ID(n), &v1.Node{NodeId: n, Name: "a"})
//	})
package meta
