package view

import (
	"fmt"

	ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// Operator is a change to one copyset that is under way, or that is wanted and waits.
type Operator struct {
	Kind          string `json:"kind"`
	Copyset       uint64 `json:"copyset"`
	FromReplicaID uint64 `json:"from_replica_id"`
	FromStoreID   uint64 `json:"from_store_id"`
	FromNode      string `json:"from_node"`
	ToReplicaID   uint64 `json:"to_replica_id"` // 0: not chosen yet
	ToStoreID     uint64 `json:"to_store_id"`
	ToNode        string `json:"to_node"`
	Since         string `json:"since"`
	State         string `json:"state"` // running | waiting | cancelling | cancelled
	Progress      string `json:"progress"`
	Reason        string `json:"reason"` // why it is wanted, or what it waits for
}

// Operators is a listing.
type Operators struct {
	Operators []Operator `json:"operators"`
	Running   uint64     `json:"running"`
	Waiting   uint64     `json:"waiting"` // listed or not
}

// FromOperators converts a listing.
func FromOperators(r *ashlar.ListOperatorsResponse) Operators {
	return Operators{Running: r.GetRunning(), Waiting: r.GetWaiting(),
		Operators: convert(r.GetOperators(), FromOperator)}
}

// FromOperator converts one.
func FromOperator(o *ashlar.Operator) Operator {
	return Operator{Kind: o.GetKind(), Copyset: o.GetCopysetId(),
		FromReplicaID: o.GetFromReplicaId(), FromStoreID: o.GetFromStoreId(),
		FromNode: o.GetFromNode(), ToReplicaID: o.GetToReplicaId(),
		ToStoreID: o.GetToStoreId(), ToNode: o.GetToNode(),
		Since: stamp(o.GetSinceUnixNs()), State: o.GetState(), Progress: o.GetProgress(),
		Reason: o.GetReason()}
}

// Tables implements Tabler.
func (o Operator) Tables() []Table { return Operators{Operators: []Operator{o}}.Tables() }

// Tables implements Tabler.
func (os Operators) Tables() []Table {
	t := Table{Heading: []string{"KIND", "COPYSET", "FROM", "TO", "STATE", "SINCE", "PROGRESS",
		"REASON"}}
	listed := uint64(0)
	for _, o := range os.Operators {
		if o.State == "waiting" {
			listed++
		}
		to := "-"
		if o.ToReplicaID != 0 {
			to = place(o.ToReplicaID, o.ToStoreID, o.ToNode)
		}
		t.Rows = append(t.Rows, []string{o.Kind, num(o.Copyset),
			place(o.FromReplicaID, o.FromStoreID, o.FromNode), to, o.State, o.Since, o.Progress,
			o.Reason})
	}
	if listed == os.Waiting {
		return []Table{t}
	}
	more := fmt.Sprintf("and %d more that wait", os.Waiting-listed)
	return []Table{t, {Rows: [][]string{{more}}}}
}

// place names a replica and where it is.
func place(replica, store uint64, node string) string {
	return fmt.Sprintf("%d@%s/%d", replica, node, store)
}
