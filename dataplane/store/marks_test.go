package store

import (
	"testing"

	"github.com/ashlar-storage/ashlar/ebpf/mark"
)

func TestAppendsAndAcksAreToldTogetherAndInTime(t *testing.T) {
	var m marks
	m.attach(true)
	if m.due(0) {
		t.Error("nothing is there and it is due")
	}
	const began = 1000
	m.hold(began)
	m.acks = append(m.acks, mark.Ack{})
	m.hold(began + 500) // the first one's age counts
	m.appends = append(m.appends, mark.Append{})
	if at := int64(began + marksTime); m.due(at-1) || !m.due(at) {
		t.Errorf("due before its time %v, then %v", m.due(at-1), m.due(at))
	}
	m.acks = make([]mark.Ack, marksHeld-1)
	if !m.due(began) {
		t.Errorf("%d are held back", len(m.acks)+len(m.appends))
	}
	m.attach(true)
	if len(m.acks) == 0 {
		t.Error("a turn forgot what was held back")
	}
	m.attach(false)
	if m.attach(true); m.due(began+int64(marksTime)) || len(m.acks) > 0 {
		t.Error("a new tracer is told of what was before it")
	}
}
