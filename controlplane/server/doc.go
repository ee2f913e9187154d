// Package server is the control plane's process: the three Kitex services of rpc/admin on one port,
// over the metadata of package meta.
//
// # Promises
//
//   - What a call acknowledged is on disk and there after a restart, a kill or a power cut:
//     identities, copysets, volumes, their mapping, epochs and sessions.
//   - Node, store, copyset, replica, volume and session ids are never given out twice, and the
//     epoch of a volume only rises.
//   - A node or store of another cluster is refused; the error names both clusters.
//   - No read or write of a block waits for this process. Nodes keep their desired state, clients
//     their mappings; what stops while it is away is change.
//   - A store is given no more than its capacity times the overcommitment by all volumes together,
//     written full; volumes go where there is room, and unequal stores run full together.
//   - Volumes lie in directories. A change of a name, across directories too, is one transaction:
//     after a crash there is the old name or the new one, never both and never none. Clients hold a
//     volume by its number and do not notice.
//   - A deleted volume keeps data and mapping in the trash for Config.TrashKeep; until then it can
//     be restored, and its space is not given to others.
//   - What happens to nodes, stores, copysets and volumes is recorded as events, the newest
//     maxEvents of them; one of a volume in the very transaction that it tells of.
//   - Of several control planes with the same etcd one serves. The others answer every call with
//     admin.ErrNotActive and where to go, and serve their own metrics. What a former active one
//     still believes it cannot write, and it forms no answer once another may be active. One that
//     was on its way by then does no harm: a node takes no answer after a later one.
//   - Leaders are hints. The newest term that any replica reported wins; they are written down
//     within FlushInterval, so that a restarted control plane answers with them at once, and
//     ClusterStatus counts only leaders confirmed since the start.
//   - A node is told to destroy a replica only when the record, the order of the numbers and the
//     copyset's leader agree that it is no member any more (retire.go).
//   - Metadata that were restored from an older backup are believed only where nothing that runs
//     says otherwise: numbers begin anew above all of before, copysets count when their leaders
//     have confirmed them, and sessions, stores and nodes from after the backup are taken up
//     (settle.go, survivors.go). Nothing is destroyed because a backup does not know it, and what
//     the nodes hold of volumes that it does not know can be made volumes again (survey.go).
//
// # How it works
//
// One lock guards the state in memory, which mirrors the metadata. A change is committed first and
// taken into memory after; when the outcome of a commit is unknown, every later change is refused
// until the metadata are read anew: with a directory at a restart, with etcd at the next election.
// Heartbeats, lookups and status read memory only (segments are read from the metadata). Records in
// memory are never changed in place: they are replaced.
//
// Nobody keeps the lock while all copysets are looked at: what is asked of all of them is counted
// as they change (members.go, verdicts.go), and where each must be looked at, others have the lock
// in between, every maxTouched copysets (limits.go). The schedulers decide without it, by an index
// of their own (turns.go).
//
// Being active is a term (term.go): it begins with winning the election and reading everything, and
// its memory ends with it. Heartbeats tell the rest within their interval.
//
// Time enters through Config.Now and through tick, which the shell calls every TickInterval:
// it notices nodes that fell silent, ends leases, creates the copysets once enough nodes are up,
// writes down what may be written late, and runs the schedulers.
//
// # How it fails
//
// A metadata directory that is foreign, newer or in use makes New fail. Errors of calls have the
// classes of package admin. When the metadata cannot be written, every change is refused with
// ErrUnavailable and the status says so, until the process is restarted on a disk that works. When
// etcd does not answer, changes are refused, and when its lease is over nothing is served, until
// etcd answers again; New fails when etcd does not answer at the start.
//
// Since when stores are away, and what copysets have lost of late, is in memory: after a restart
// the wait for a lost store begins anew, and a copyset that kills its stores may have three more.
//
// # Limits
//
// limits.go; what is over a limit is refused with ErrInvalid or ErrBusy, never queued. The
// transport has no encryption and no authentication.
//
// # Use
//
//	s, err := server.New(server.Config{Listen: "127.0.0.1:7400", DataDir: dir})
//	s, err := server.New(server.Config{Listen: "10.0.0.1:7400",
//		Etcd: meta.EtcdConfig{Endpoints: []string{"10.0.0.1:2379", "10.0.0.2:2379"}}})
//	err = s.Serve(ctx) // until ctx ends
package server
