package view

// FormattedStore is a block device, or a file in its place, that can be a store now.
type FormattedStore struct {
	Path          string `json:"path"`
	CapacityBytes uint64 `json:"capacity_bytes"`
	Files         uint64 `json:"files"`
}

// Tables implements Tabler.
func (f FormattedStore) Tables() []Table {
	return []Table{{Rows: [][]string{{"path", f.Path}, {"capacity", bytesText(f.CapacityBytes)},
		{"files", num(f.Files) + " at most"}}}}
}
