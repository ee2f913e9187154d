package store

import (
	"testing"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/ebpf/mark"
)

func TestRecordsAreToldTogetherAndInTime(t *testing.T) {
	var m marks
	m.attach(true)
	if m.due(0) {
		t.Error("nothing is there and it is due")
	}
	const began = 1000
	m.hold(began)
	m.ops = append(m.ops, mark.Op{})
	m.hold(began + 300) // the first one's age counts
	m.acks = append(m.acks, mark.Ack{})
	m.hold(began + 500)
	m.appends = append(m.appends, mark.Append{})
	if at := int64(began + marksTime); m.due(at-1) || !m.due(at) {
		t.Errorf("due before its time %v, then %v", m.due(at-1), m.due(at))
	}
	m.acks = make([]mark.Ack, marksHeld)
	if !m.due(began) {
		t.Errorf("%d are held back", len(m.acks))
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

// A tracer holds stages against the kernel's clock with those that are told at once, the first
// among them.
func TestOfSomeTurnsRequestsAreToldAtOnce(t *testing.T) {
	var m marks
	m.attach(true)
	if m.answer(1) {
		t.Error("a turn without answers is told")
	}
	for turn := range 3 * marksPrompt {
		m.ops = append(m.ops, mark.Op{}, mark.Op{})
		if prompt := m.answer(int64(turn + 1)); prompt != (turn%marksPrompt == 0) {
			t.Errorf("turn %d: told at once: %v", turn, prompt)
		}
	}
	if m.answer(1 << 40) {
		t.Error("a turn without answers is told")
	}
	for i, o := range m.ops {
		turn := i / 2
		want := uint8(1 << copyset.StageReply)
		if turn%marksPrompt == 0 {
			want |= mark.Prompt
		}
		if o.Been != want || o.Spent[copyset.StageReply] != int64(turn+1) {
			t.Errorf("request of turn %d: been %#x, spent %v", turn, o.Been, o.Spent)
		}
	}
}
