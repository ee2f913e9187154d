package store

import (
	"testing"
	"time"
)

func testPulse(t *testing.T, every time.Duration) *pulse {
	t.Helper()
	p, err := newPulse()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	p.start(every)
	return p
}

func TestPulseBeatsAtItsTimes(t *testing.T) {
	const every, beats = 10 * time.Millisecond, 20
	p := testPulse(t, every)
	begun := time.Now()
	for range beats {
		if !p.wait() {
			t.Fatal("it has ended")
		}
	}
	if d := time.Since(begun); d < beats/2*every {
		t.Errorf("%d beats of %v within %v", beats, every, d)
	}
}

// As with a time.Ticker: what was missed is not made up for.
func TestPulseForgetsBeatsThatWereMissed(t *testing.T) {
	const every = 100 * time.Millisecond
	p := testPulse(t, every)
	time.Sleep(5*every + every/2)
	begun := time.Now()
	for range 3 {
		p.wait()
	}
	if d := time.Since(begun); d < every {
		t.Errorf("three beats within %v, of which one was missed", d)
	}
}

func TestPulseThatIsClosedEndsTheWait(t *testing.T) {
	for name, begin := range map[string]func(*pulse){
		"it has not begun": func(*pulse) {},
		"it beats":         func(p *pulse) { p.start(time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			p, err := newPulse()
			if err != nil {
				t.Fatal(err)
			}
			begin(p)
			ended := make(chan bool)
			go func() { ended <- p.wait() }()
			time.Sleep(20 * time.Millisecond)
			p.close()
			if <-ended {
				t.Error("it beat")
			}
		})
	}
}
