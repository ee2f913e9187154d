package view

import (
	ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// Scheduler is a rule by which the cluster changes itself.
type Scheduler struct {
	Kind    string `json:"kind"`
	About   string `json:"about"`
	Paused  bool   `json:"paused"`
	Since   string `json:"paused_since"` // empty: it is not
	Note    string `json:"note"`
	Running uint64 `json:"running"`
	Waiting uint64 `json:"waiting"`
	Limits  string `json:"limits"`
}

// Schedulers is a listing.
type Schedulers []Scheduler

// FromSchedulers converts a listing.
func FromSchedulers(list []*ashlar.Scheduler) Schedulers {
	return convert(list, FromScheduler)
}

// FromScheduler converts one.
func FromScheduler(s *ashlar.Scheduler) Scheduler {
	return Scheduler{Kind: s.GetKind(), About: s.GetAbout(), Paused: s.GetPaused(),
		Since: stamp(s.GetPausedUnixNs()), Note: s.GetNote(), Running: s.GetRunning(),
		Waiting: s.GetWaiting(), Limits: s.GetLimits()}
}

// Tables implements Tabler.
func (ss Schedulers) Tables() []Table {
	t := Table{Heading: []string{"KIND", "STATE", "RUNNING", "WAITING", "LIMITS", "NOTE"}}
	for _, s := range ss {
		state := "on"
		if s.Paused {
			state = "paused " + s.Since
		}
		t.Rows = append(t.Rows, []string{s.Kind, state, num(s.Running), num(s.Waiting), s.Limits,
			s.Note})
	}
	return []Table{t}
}

// Tables implements Tabler.
func (s Scheduler) Tables() []Table { return Schedulers{s}.Tables() }
