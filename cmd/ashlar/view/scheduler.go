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

// Limit bounds what schedulers do.
type Limit struct {
	Name    string `json:"name"`
	About   string `json:"about"`
	Value   string `json:"value"` // a number, or a time
	Default string `json:"default"`
	Least   string `json:"least"`
	Most    string `json:"most"`
	Set     string `json:"set"` // when; empty: it was not
	Note    string `json:"note"`
}

// Limits is a listing.
type Limits []Limit

// FromLimits converts a listing.
func FromLimits(list []*ashlar.Limit) Limits { return convert(list, FromLimit) }

// FromLimit converts one.
func FromLimit(l *ashlar.Limit) Limit {
	return Limit{Name: l.GetName(), About: l.GetAbout(), Value: l.GetValue(),
		Default: l.GetDefaultValue(), Least: l.GetLeast(), Most: l.GetMost(),
		Set: stamp(l.GetSetUnixNs()), Note: l.GetNote()}
}

// Tables implements Tabler.
func (ls Limits) Tables() []Table {
	t := Table{Heading: []string{"LIMIT", "VALUE", "DEFAULT", "FROM", "TO", "SET", "NOTE",
		"WHAT IT IS"}}
	for _, l := range ls {
		t.Rows = append(t.Rows, []string{l.Name, l.Value, l.Default, l.Least, l.Most, l.Set,
			l.Note, l.About})
	}
	return []Table{t}
}

// Tables implements Tabler.
func (l Limit) Tables() []Table { return Limits{l}.Tables() }
