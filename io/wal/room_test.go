package wal

import (
	"runtime"
	"testing"
)

// roomFrame is a frame of two blocks of payload: five fill a small segment to its end.
const roomFrame = 3 * BlockSize

// roomWhen is what l has once the preparer knows how the device is.
func roomWhen(l *Log, full bool) Room {
	for {
		if r := l.Room(); r.Full == full {
			return r
		}
		runtime.Gosched()
	}
}

func TestRoomIsWhatTheSegmentsOfAFullDeviceStillTake(t *testing.T) {
	d := newSim()
	l := opened(t, testConfig(d))
	defer closed(t, l)
	first := must(t, l, record(1, 0, 2, 0))
	settle(l)
	d.SetBytes(2 * smallSegment)
	begin := l.lsn(1, 0)
	want := Room{Used: roomFrame, Begin: begin, Left: 9 * roomFrame}
	if got := roomWhen(l, false); got != want {
		t.Errorf("room %+v, want %+v", got, want)
	}
	last := first
	for i := range uint64(9) { // to the last byte, without a wait
		last = must(t, l, record(1, i, 2, 0))
	}
	want = Room{Used: 10 * roomFrame, Held: 5 * roomFrame, Begin: begin + smallSegment, Full: true}
	if got := roomWhen(l, true); got != want || l.Stats().Starved != 0 {
		t.Errorf("room %+v, want %+v; %+v", got, want, l.Stats())
	}

	waitMarked(t, l) // while it marks a segment it pins it
	unpin := l.Pin(first.Records[0].At)
	l.Release(last.End)
	want.Used, want.Held = 5*roomFrame, 0
	if got := l.Room(); got != want {
		t.Errorf("room beside a pinned segment %+v, want %+v", got, want)
	}
	unpin()
	want.Left = 5 * roomFrame
	if got := l.Room(); got != want {
		t.Errorf("room after a release %+v, want %+v", got, want)
	}
	for i := range uint64(5) {
		must(t, l, record(2, i, 2, 0))
	}
	d.SetBytes(1 << 30)
	must(t, l, record(3, 0, 2, 0))
	settle(l)
	if got := roomWhen(l, false); got.Left < 5*roomFrame {
		t.Errorf("room on a device that has some again: %+v", got)
	}
}

func TestRoomIsWithoutWhatWasAppended(t *testing.T) {
	d := newSim()
	l := opened(t, testConfig(d))
	must(t, l, record(1, 0, 2, 0))
	settle(l)
	g := gateWrites(d)
	done := make(chan error, 3)
	for i := range 3 {
		l.Append(&Append{Records: []Record{record(1, uint64(i), 2, 0)},
			Done: func(a *Append) { done <- a.Err }})
		if i == 0 {
			<-g.entered
		}
	}
	if got := l.Room(); got.Left != 6*roomFrame || got.Used != roomFrame {
		t.Errorf("room while three frames are on their way: %+v", got)
	}
	close(g.open)
	for range 3 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if got := l.Room(); got.Left < 6*roomFrame {
		t.Errorf("room once they are durable: %+v", got)
	}
	closed(t, l)
}

func TestRoomOfAnOpenedLogIsThatOfTheNextSegment(t *testing.T) {
	d := newSim()
	l := opened(t, testConfig(d))
	must(t, l, record(1, 0, 2, 0))
	settle(l)
	closed(t, l)
	l, _, _ = reopen(t, testConfig(d))
	defer closed(t, l)
	settle(l)
	want := Room{Used: roomFrame, Held: roomFrame, Begin: l.lsn(2, 0), Left: 5 * roomFrame}
	if got := l.Room(); got != want {
		t.Errorf("room %+v, want %+v", got, want)
	}
}
