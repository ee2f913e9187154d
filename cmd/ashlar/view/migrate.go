package view

import "github.com/ashlar-storage/ashlar/controlplane/meta"

// Moved is what `control migrate` moved, and where to.
type Moved struct {
	Cluster string `json:"cluster"`
	Keys    uint64 `json:"keys"`
	Bytes   uint64 `json:"bytes"`
	SHA256  string `json:"sha256"`
	To      string `json:"to"`
}

// FromMoved shows a move.
func FromMoved(m meta.Moved, to string) Moved {
	return Moved{Cluster: m.ClusterID, Keys: m.Keys, Bytes: m.Bytes, SHA256: m.SHA256, To: to}
}

// Tables implements Tabler.
func (m Moved) Tables() []Table {
	return []Table{{Rows: [][]string{{"cluster", m.Cluster}, {"to", m.To}, {"keys", num(m.Keys)},
		{"bytes", bytesText(m.Bytes)}, {"sha256", m.SHA256}}}}
}
