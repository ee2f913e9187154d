package view

import ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"

// Directory holds volumes and directories.
type Directory struct {
	ID          uint64 `json:"id"`
	Path        string `json:"path"`
	Created     string `json:"created"`
	Volumes     uint64 `json:"volumes"`     // directly in it
	Directories uint64 `json:"directories"` // directly in it
}

// Directories is a listing.
type Directories []Directory

// FromDirectory converts a directory.
func FromDirectory(d *ashlar.Directory) Directory {
	return Directory{ID: d.GetDirectoryId(), Path: d.GetPath(),
		Created: stamp(d.GetCreatedUnixNs()), Volumes: d.GetVolumes(),
		Directories: d.GetDirectories()}
}

// FromDirectories converts a listing; the result is never nil.
func FromDirectories(in []*ashlar.Directory) Directories { return convert(in, FromDirectory) }

// Tables implements Tabler.
func (ds Directories) Tables() []Table {
	t := Table{Heading: []string{"ID", "PATH", "VOLUMES", "DIRECTORIES", "CREATED"}}
	for _, d := range ds {
		t.Rows = append(t.Rows, []string{num(d.ID), d.Path, num(d.Volumes), num(d.Directories),
			d.Created})
	}
	return []Table{t}
}

// Tables implements Tabler.
func (d Directory) Tables() []Table { return Directories{d}.Tables() }

// Removed is what does not exist any more.
type Removed struct {
	Removed string `json:"removed"`
}

// Tables implements Tabler.
func (r Removed) Tables() []Table { return []Table{{Rows: [][]string{{"removed", r.Removed}}}} }
