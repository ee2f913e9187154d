package view

import (
	"fmt"

	"github.com/ashlar-storage/ashlar/dataplane/store"
)

// StoreCheck is what an offline check of a store found.
type StoreCheck struct {
	Path       string    `json:"path"`
	UUID       string    `json:"uuid"`
	ClusterID  string    `json:"cluster_id"`
	StoreID    uint64    `json:"store_id"`
	ChunkBytes uint64    `json:"chunk_bytes"`
	Result     string    `json:"result"` // clean, damaged
	Damage     uint64    `json:"damage"`
	Notes      uint64    `json:"notes"`
	Areas      []Area    `json:"areas"`
	Findings   []Finding `json:"findings"`
	Omitted    uint64    `json:"omitted"` // findings counted and not listed
}

// Area counts what was looked at in one part of a store.
type Area struct {
	Area    string `json:"area"`
	Objects uint64 `json:"objects"`
	Unit    string `json:"unit"`
	Bytes   uint64 `json:"bytes"`
	Damage  uint64 `json:"damage"`
	Notes   uint64 `json:"notes"`
}

// Finding is one thing that is not as it should be.
type Finding struct {
	Severity string `json:"severity"`
	Area     string `json:"area"`
	File     string `json:"file"`
	Offset   int64  `json:"offset"`
	Length   int64  `json:"length"`
	Expected string `json:"expected"`
	Got      string `json:"got"`
	Means    string `json:"means"`
	Do       string `json:"do"`
}

// FromCheck is the document of a report.
func FromCheck(r *store.CheckReport) StoreCheck {
	c := StoreCheck{Path: r.Path, UUID: r.UUID, ClusterID: r.ClusterID, StoreID: r.StoreID,
		ChunkBytes: uint64(r.ChunkSize), Result: "clean", Damage: r.Damaged(), Omitted: r.Omitted,
		Areas: []Area{}, Findings: []Finding{}}
	if c.Damage > 0 {
		c.Result = "damaged"
	}
	for _, a := range r.Areas {
		c.Notes += a.Notes
		c.Areas = append(c.Areas, Area{a.Name, a.Objects, a.Unit, a.Bytes, a.Damage, a.Notes})
	}
	for _, f := range r.Findings {
		c.Findings = append(c.Findings, Finding{f.Severity, f.Area, f.File, f.Offset, f.Length,
			f.Expected, oneLine(f.Got), f.Means, f.Do})
	}
	return c
}

// Tables implements Tabler.
func (c StoreCheck) Tables() []Table {
	head := Table{Rows: [][]string{{"store", c.Path}, {"uuid", c.UUID}, {"cluster", c.ClusterID},
		{"store id", num(c.StoreID)}, {"result", c.Result}}}
	areas := Table{Heading: []string{"AREA", "LOOKED AT", "BYTES", "DAMAGE", "NOTES"}}
	for _, a := range c.Areas {
		areas.Rows = append(areas.Rows, []string{a.Area, fmt.Sprintf("%d %s", a.Objects, a.Unit),
			bytesText(a.Bytes), num(a.Damage), num(a.Notes)})
	}
	tables := []Table{head, areas}
	for _, f := range c.Findings {
		t := Table{Rows: [][]string{{f.Severity, f.Means}, {"where", f.where()}}}
		for _, row := range [][]string{{"expected", f.Expected}, {"got", f.Got}, {"do", f.Do}} {
			if row[1] != "" {
				t.Rows = append(t.Rows, row)
			}
		}
		tables = append(tables, t)
	}
	if c.Omitted > 0 {
		tables = append(tables, Table{Rows: [][]string{{"and", num(c.Omitted) +
			" more, counted above"}}})
	}
	return tables
}

func (f *Finding) where() string {
	if f.Length == 0 && f.Offset == 0 {
		return f.File
	}
	return fmt.Sprintf("%s, offset %d, %d bytes", f.File, f.Offset, f.Length)
}
