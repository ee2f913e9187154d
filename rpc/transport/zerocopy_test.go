package transport

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

func TestZeroCopyIsReadFromItsText(t *testing.T) {
	for text, want := range map[string]ZeroCopy{
		"": {}, "off": {}, "auto": {Threshold: zcThreshold},
		"65536": {Threshold: 65536, Keep: true}, "1": {Threshold: 1, Keep: true},
	} {
		if got, err := ParseZeroCopy(text); got != want || err != nil {
			t.Errorf("%q gives %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"0", "-1", "on", "64KiB", "4294967296"} {
		if got, err := ParseZeroCopy(text); !errors.Is(err, ErrConfig) {
			t.Errorf("%q gives %+v, %v", text, got, err)
		}
	}
}

func TestBatchGoesByZeroCopyFromTheThresholdOnAndWhereItsMemoryMayBeKept(t *testing.T) {
	z := zcSteps{cfg: ZeroCopy{Threshold: 100}}
	if z.takes(99, false) || !z.takes(100, false) || z.takes(100, true) {
		t.Error("the threshold is 100, without memory that is its owner's again at once")
	}
	if z = (zcSteps{}); z.takes(1<<20, false) {
		t.Error("the zero value takes a batch")
	}
}

func TestEachCompletionDecidesWhoSendsTheRest(t *testing.T) {
	for _, c := range []struct {
		name string
		res  int32
		took int
		next zcNext
		off  bool
	}{
		{"all", 100, 100, zcDone, false},
		{"a part", 40, 40, zcRest, false},
		{"interrupted", -int32(unix.EINTR), 0, zcRest, false},
		{"no room", -int32(unix.EAGAIN), 0, zcRest, false},
		{"no locked memory", -int32(unix.ENOMEM), 0, zcPlain, false},
		{"no buffers", -int32(unix.ENOBUFS), 0, zcPlain, false},
		{"old kernel", -int32(unix.EINVAL), 0, zcPlain, true},
		{"not on this socket", -int32(unix.EOPNOTSUPP), 0, zcPlain, true},
		{"broken", -int32(unix.EPIPE), 0, zcPlain, false},
		{"nothing", 0, 0, zcPlain, false},
	} {
		z := zcSteps{cfg: ZeroCopy{Threshold: 1, Keep: true}}
		z.began()
		took, next := z.sent(c.res, false, 100)
		if took != c.took || next != c.next || z.off != c.off || z.held != 0 {
			t.Errorf("%s: %d bytes, next %d, %+v", c.name, took, next, z)
		}
	}
}

func TestMemoryIsHeldUntilTheNotificationAndACopyEndsAuto(t *testing.T) {
	for _, keep := range []bool{false, true} {
		z := zcSteps{cfg: ZeroCopy{Threshold: 1, Keep: keep}}
		z.began()
		if _, next := z.sent(40, true, 100); next != zcRest || z.held != 1 {
			t.Fatalf("after a part: next %d, %d held", next, z.held)
		}
		z.began()
		if z.notified(false); z.off || z.held != 1 {
			t.Fatalf("after a notification: %+v", z)
		}
		if z.notified(true); z.held != 0 || z.takes(1, false) != keep {
			t.Errorf("keep %v: after a copy: %+v", keep, z)
		}
		z.began()
		if _, next := z.sent(10, true, 60); (next == zcRest) != keep {
			t.Errorf("keep %v: the rest of a batch goes by %d", keep, next)
		}
	}
}
