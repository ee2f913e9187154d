package view

import (
	"time"

	ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// Attachment is a session of a client on a volume.
type Attachment struct {
	Session   uint64 `json:"session"`
	Mode      string `json:"mode"`  // write | read
	State     string `json:"state"` // ok | silent | fenced
	Epoch     uint64 `json:"epoch"`
	Client    string `json:"client"`
	Opened    string `json:"opened"`
	LeaseLeft int64  `json:"lease_left_ms"` // below 0 when silent
}

// Attachments is a listing.
type Attachments []Attachment

// FromAttachments converts a listing; the result is never nil.
func FromAttachments(in []*ashlar.Attachment) Attachments {
	return convert(in, func(a *ashlar.Attachment) Attachment {
		mode := "write"
		if a.GetReadOnly() {
			mode = "read"
		}
		return Attachment{Session: a.GetSessionId(), Mode: mode, State: a.GetState(),
			Epoch: a.GetEpoch(), Client: a.GetClient(), Opened: stamp(a.GetOpenedUnixNs()),
			LeaseLeft: a.GetLeaseLeftMs()}
	})
}

// Tables implements Tabler.
func (as Attachments) Tables() []Table {
	t := Table{Heading: []string{"SESSION", "MODE", "STATE", "EPOCH", "CLIENT", "OPENED", "LEASE"}}
	for _, a := range as {
		lease := time.Duration(a.LeaseLeft) * time.Millisecond
		t.Rows = append(t.Rows, []string{num(a.Session), a.Mode, a.State, num(a.Epoch), a.Client,
			a.Opened, lease.Round(time.Second).String()})
	}
	return []Table{t}
}
