package view

import (
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
)

// Backup is a backup file of the metadata.
type Backup struct {
	File     string `json:"file"`
	Cluster  string `json:"cluster"`
	Taken    string `json:"taken"`
	Revision uint64 `json:"revision"`
	Records  uint64 `json:"records"`
	Bytes    uint64 `json:"bytes"`
	SHA256   string `json:"sha256"`
}

// FromBackup shows a backup.
func FromBackup(b meta.Backup, file string) Backup {
	return Backup{File: file, Cluster: b.ClusterID, Taken: b.Taken.UTC().Format(time.RFC3339),
		Revision: b.Revision, Records: b.Records, Bytes: b.Bytes, SHA256: b.SHA256}
}

// Tables implements Tabler.
func (b Backup) Tables() []Table {
	return []Table{{Rows: [][]string{{"file", b.File}, {"cluster", b.Cluster},
		{"taken", b.Taken}, {"revision", num(b.Revision)}, {"records", num(b.Records)},
		{"bytes", bytesText(b.Bytes)}, {"sha256", b.SHA256}}}}
}

// Restoration is what `control restore` restored, and to where.
type Restoration struct {
	To      string `json:"to"`
	Cluster string `json:"cluster"`
	Taken   string `json:"taken,omitempty"` // empty: nothing was restored
	Keys    uint64 `json:"keys"`
	SHA256  string `json:"sha256,omitempty"`
	FirstID uint64 `json:"first_id"`
}

// FromRestoration shows a restore.
func FromRestoration(r meta.Restoration, cluster, to string) Restoration {
	v := Restoration{To: to, Cluster: cluster, Keys: r.Keys, SHA256: r.SHA256,
		FirstID: r.Restored.Floor + 1}
	if r.Restored.TakenNS != 0 {
		v.Taken = time.Unix(0, r.Restored.TakenNS).UTC().Format(time.RFC3339)
	}
	return v
}

// Tables implements Tabler.
func (r Restoration) Tables() []Table {
	rows := [][]string{{"to", r.To}, {"cluster", r.Cluster}}
	if r.Taken == "" {
		rows = append(rows, []string{"taken", "- (nothing but the cluster's id)"})
	} else {
		rows = append(rows, []string{"taken", r.Taken}, []string{"keys", num(r.Keys)},
			[]string{"sha256", r.SHA256})
	}
	return []Table{{Rows: append(rows, []string{"first_id", num(r.FirstID)})}}
}
