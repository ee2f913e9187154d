package view

import (
	"strings"

	ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// ScrubTime is when stores are scrubbed.
type ScrubTime struct {
	Windows string   `json:"windows"` // empty: always
	Zone    string   `json:"zone"`
	Open    bool     `json:"open"`
	Opens   string   `json:"opens"` // empty: a window is open
	Set     string   `json:"set"`   // when; empty: they were not
	Note    string   `json:"note"`
	Lacking []string `json:"lacking"` // nodes that do not know of windows
}

// FromScrubTime converts one; nil is always.
func FromScrubTime(w *ashlar.ScrubWindows) ScrubTime {
	s := ScrubTime{Windows: w.GetWindows(), Zone: w.GetZone(), Open: w.GetOpen() || w == nil,
		Opens: stamp(w.GetOpensUnixNs()), Set: stamp(w.GetSetUnixNs()), Note: w.GetNote(),
		Lacking: append([]string{}, w.GetLacking()...)}
	if s.Zone == "" {
		s.Zone = "UTC"
	}
	return s
}

// state says in a line whether stores may be scrubbed now.
func (s ScrubTime) state() string {
	text := "at any time"
	switch {
	case s.Windows == "":
	case s.Open:
		text = s.Windows + " " + s.Zone + ": now"
	default:
		text = s.Windows + " " + s.Zone + ": waits until " + s.Opens
	}
	if len(s.Lacking) > 0 {
		text += "; nodes that do not know of it scrub at any time: " +
			strings.Join(s.Lacking, ", ")
	}
	return text
}

// Tables implements Tabler.
func (s ScrubTime) Tables() []Table {
	t := Table{Rows: [][]string{{"scrub", s.state()}}}
	if s.Set != "" {
		t.Rows = append(t.Rows, []string{"set", s.Set})
	}
	if s.Note != "" {
		t.Rows = append(t.Rows, []string{"note", s.Note})
	}
	return []Table{t}
}
