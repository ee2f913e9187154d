package view

import (
	"fmt"
	"time"

	ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// Event is something that happened in the cluster.
type Event struct {
	ID       uint64 `json:"id"`
	Time     string `json:"time"`     // RFC 3339 with milliseconds, UTC
	Severity string `json:"severity"` // info | warning | error
	Kind     string `json:"kind"`
	Object   string `json:"object"` // cluster | node | store | copyset | volume
	ObjectID uint64 `json:"object_id"`
	Name     string `json:"name"` // of the object, at that time
	Text     string `json:"text"`
}

// Events is a listing, oldest first.
type Events []Event

// FromEvents converts a listing; the result is never nil.
func FromEvents(in []*ashlar.Event) Events { return convert(in, fromEvent) }

func fromEvent(e *ashlar.Event) Event {
	return Event{ID: e.GetEventId(), Severity: e.GetSeverity(), Kind: e.GetKind(),
		Time:   time.Unix(0, e.GetTimeUnixNs()).UTC().Format("2006-01-02T15:04:05.000Z"),
		Object: e.GetObject(), ObjectID: e.GetObjectId(), Name: e.GetName(), Text: e.GetText()}
}

// Tables implements Tabler. There is no heading and the columns keep their widths, so that what is
// printed one after the other is one table.
func (es Events) Tables() []Table {
	t := Table{}
	for _, e := range es {
		t.Rows = append(t.Rows, []string{e.Time, fmt.Sprintf("%-7s", e.Severity),
			fmt.Sprintf("%-17s", e.Kind), e.Text})
	}
	return []Table{t}
}

// Tables implements Tabler.
func (e Event) Tables() []Table { return Events{e}.Tables() }
