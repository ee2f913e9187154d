// Package meta keeps what the control plane must not forget: topology, copysets, volumes, the
// mapping of their segments, sessions, events and counters.
//
// It has two layers. KV is the seam: ordered byte keys with serialisable transactions, scans of a
// prefix, watches and elections. On top are typed tables (Nodes, Stores, Copysets, Volumes,
// Segments, Sessions, Events, Directory) and counters, which work over any KV.
//
// # Promises
//
//   - A transaction whose Update returned nil survives the loss of the process and of power; one
//     that returned an error left nothing behind, except where the error is ErrFailed.
//   - Transactions are serialisable. The function given to Update may run more than once: it must
//     have no effect but through its Tx.
//   - Identifiers drawn from counters are never given out twice.
//   - One leads at a time under a name, and a former leader writes nothing, whatever it believes.
//   - A directory or prefix that something else wrote, one written by a newer version, and a
//     directory that another process has open are refused, and the error says which of these it is.
//
// # How it fails
//
// After a commit whose outcome is unknown the KV, or in etcd the leadership that it belongs to, is
// failed for good: every later call returns ErrFailed with the cause, and a restart, or the next
// leadership, reads what is really there. A store that does not answer is ErrUnavailable, and
// nothing was written. A value that does not decode is ErrCorrupt with table and key; one of a
// newer version is ErrVersion.
//
// # Limits
//
// One transaction holds at most MaxTxnBytes; see limits.go. A watch that its reader leaves
// unread for too long ends in ErrLagged, after which the reader scans again.
//
// # Pebble
//
// OpenPebble is the embedded implementation: one writer at a time, a synced batch per transaction.
// A directory that has served one process cannot be shared with another, so there is one control
// plane process, and its campaigns meet nobody.
//
// # Etcd
//
// OpenEtcd is the implementation for several processes, of which one leads. etcdformat.go lists its
// keys. Any server from 3.4 on will do, with its default limits.
//
// All transactions of a cluster meet in one key, the head, which carries the number of the last
// one. A transaction reads the head and then everything else at the revision of etcd at which the
// head was read; it commits on the condition that the head is unchanged. Comparing the revision of
// each key that was read would let transactions on different keys pass each other; it lost because
// it cannot see keys deleted from a range that was scanned, because etcd limits conditions to 128,
// and because there is one writer in any case. A leader's commit has a second condition: that the
// key by which it leads was created at the revision at which it won.
//
// etcd takes 128 operations and 1.5 MiB in a request by default, and a volume of 64 TiB is 65,536
// records of 11 MB. Three ways were open. Raised limits for etcd move the bound to where a request
// stalls its heartbeats, and an etcd that serves others too will not have them raised. Packing many
// records in a value makes every small change a large one. So a large transaction goes through a
// journal (etcdjournal.go): staged where nobody looks, committed by a small transaction on the
// head, then carried out by its author or by whoever reads next, each step under the condition that
// the head still names the journal. It writes twice, which only large transactions pay.
//
// A commit without an answer is looked for in the head, which names the last transaction. Until
// the answer is sure, as the request may still be on its way, the head is written anew as it is:
// that ends the condition of the lost commit. ErrFailed is what is left when etcd stays silent, or
// others have committed since.
//
// A leader's lease counts from before it was asked for, less a tenth; etcd counts from after. With
// the default lease of 2 s a leader that is cut off knows it after 1.4 to 1.8 s, and another leads
// after 1.6 to 2.6 s: etcd looks for ended leases twice in a second.
//
// # Backups
//
// A backup is one file with everything in one snapshot (backupformat.go). It is read from the KV
// where that can be shared, which etcd can be and a directory of pebble cannot: while a control
// plane has it, the backup comes from that one's interface, page by page out of one snapshot.
// A checkpoint of pebble's, hard links beside its files, would be quicker; it lost because it holds
// only for the machine and the version of pebble, has no checksum over all, and says nothing of
// etcd, while the records are the same everywhere: what was saved from one KV is restored to
// another.
//
// Restore is into nothing only, and makes metadata that know that they are older than the cluster
// (restored.go); what follows from that is the business of package server.
//
// # Use
//
//	kv, err := meta.OpenPebble(dir, meta.PebbleConfig{})
//	lead, err := kv.Campaign(ctx, "active", "host:7400")
//	id, err := meta.Init(ctx, lead)
//	err = lead.Update(ctx, func(tx meta.Tx) error {
//		n, err := meta.NextID(tx, meta.CounterNode)
//		if err != nil {
//			return err
//		}
//		return meta.Nodes.Put(tx, meta.ID(n), &v1.Node{NodeId: n, Name: "a"})
//	})
package meta
