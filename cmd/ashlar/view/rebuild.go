package view

import ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"

// Rebuild is what the nodes hold that the metadata have otherwise.
type Rebuild struct {
	Complete bool            `json:"complete"`
	Copysets uint64          `json:"copysets"`
	Volumes  []RebuiltVolume `json:"volumes"`
}

// RebuiltVolume is one such volume.
type RebuiltVolume struct {
	ID       uint64 `json:"id"`
	Name     string `json:"name"`
	Verdict  string `json:"verdict"`
	Size     uint64 `json:"size_bytes"`
	Chunks   uint64 `json:"chunks"`
	Copysets uint64 `json:"copysets"`
	Detail   string `json:"detail,omitempty"`
}

// FromRebuild shows a survey that is done.
func FromRebuild(r *ashlar.RebuildVolumesResponse) Rebuild {
	v := Rebuild{Complete: r.GetComplete(), Copysets: r.GetCopysets(),
		Volumes: []RebuiltVolume{}}
	for _, f := range r.GetVolumes() {
		v.Volumes = append(v.Volumes, RebuiltVolume{ID: f.GetVolumeId(), Name: f.GetName(),
			Verdict: f.GetVerdict(), Size: f.GetSizeBytes(), Chunks: f.GetChunks(),
			Copysets: f.GetCopysets(), Detail: f.GetDetail()})
	}
	return v
}

// Tables implements Tabler.
func (r Rebuild) Tables() []Table {
	list := Table{Heading: []string{"ID", "NAME", "VERDICT", "SIZE", "CHUNKS", "DETAIL"}}
	for _, v := range r.Volumes {
		list.Rows = append(list.Rows, []string{num(v.ID), v.Name, v.Verdict, bytesText(v.Size),
			num(v.Chunks), v.Detail})
	}
	said := "something that the nodes have is not in the metadata"
	if r.Complete {
		said = "the metadata have everything that the nodes have"
	}
	return []Table{list, {Rows: [][]string{{"copysets", num(r.Copysets)}, {"result", said}}}}
}
