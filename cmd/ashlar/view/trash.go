package view

import ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"

// Deleted is a volume that has no name any more.
type Deleted struct {
	ID        uint64 `json:"id"`
	Name      string `json:"name"` // the last that it had
	SizeBytes uint64 `json:"size_bytes"`
	State     string `json:"state"`     // trashed | deleting
	DeletedAt string `json:"deleted"`   // when it was put into the trash
	PurgedAt  string `json:"purged_at"` // when its data will be given up
}

// Trashed is a volume in the trash, or one whose data is being given up.
type Trashed struct {
	Deleted
	ReservedBytes uint64 `json:"reserved_bytes"` // of the pool, with all copies
}

// Trash is a listing.
type Trash []Trashed

// FromDeleted converts a volume.
func FromDeleted(v *ashlar.Volume) Deleted {
	return Deleted{ID: v.GetVolumeId(), Name: v.GetName(), SizeBytes: v.GetSizeBytes(),
		State: v.GetState(), DeletedAt: stamp(v.GetTrashedUnixNs()),
		PurgedAt: stamp(v.GetPurgeUnixNs())}
}

// FromTrash converts a listing; the result is never nil.
func FromTrash(in []*ashlar.Trashed) Trash {
	return convert(in, func(t *ashlar.Trashed) Trashed {
		return Trashed{Deleted: FromDeleted(t.GetVolume()), ReservedBytes: t.GetReservedBytes()}
	})
}

// Tables implements Tabler.
func (d Deleted) Tables() []Table {
	t := Table{Heading: []string{"ID", "NAME", "SIZE", "STATE", "PURGED AT"}}
	t.Rows = append(t.Rows, []string{num(d.ID), d.Name, bytesText(d.SizeBytes), d.State,
		d.PurgedAt})
	return []Table{t}
}

// Tables implements Tabler.
func (ts Trash) Tables() []Table {
	t := Table{Heading: []string{"ID", "NAME", "SIZE", "RESERVED", "STATE", "DELETED",
		"PURGED AT"}}
	for _, v := range ts {
		t.Rows = append(t.Rows, []string{num(v.ID), v.Name, bytesText(v.SizeBytes),
			bytesText(v.ReservedBytes), v.State, v.DeletedAt, v.PurgedAt})
	}
	return []Table{t}
}
