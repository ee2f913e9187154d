package window

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func windows(t *testing.T, text, zone string) Week {
	t.Helper()
	w, err := Parse(text, zone)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestWindowsOpenAndCloseByTheClock(t *testing.T) {
	// 2030-01-06 is a Sunday.
	at := func(day, hour, minute int) time.Time {
		return time.Date(2030, 1, 6+day, hour, minute, 30, 0, time.UTC)
	}
	for _, c := range []struct {
		text, zone string
		now        time.Time
		open       bool
		opens      time.Duration // from now, to the minute
	}{
		{"", "", at(3, 12, 0), true, 0},
		{"22:00-06:00", "", at(3, 22, 0), true, 0},
		{"22:00-06:00", "", at(3, 5, 59), true, 0},
		{"22:00-06:00", "UTC", at(3, 6, 0), false, 16 * time.Hour},
		{"22:00-06:00", "", at(3, 21, 59), false, time.Minute},
		{"22:00-06:00", "+02:00", at(3, 20, 0), true, 0},
		{"22:00-06:00", "+02:00", at(3, 4, 0), false, 16 * time.Hour},
		{"22:00-06:00", "-05:30", at(3, 3, 30), true, 0},
		{"mon-fri 20:00-07:00; sat,sun 00:00-24:00", "", at(0, 12, 0), true, 0},
		{"mon-fri 20:00-07:00; sat,sun 00:00-24:00", "", at(1, 3, 0), false, 17 * time.Hour},
		{"mon-fri 20:00-07:00; sat,sun 00:00-24:00", "", at(2, 3, 0), true, 0},
		{"mon-fri 20:00-07:00; sat,sun 00:00-24:00", "", at(6, 23, 59), true, 0},
		{"FRI-MON 01:00-02:00", "", at(1, 1, 0), true, 0},
		{"fri-mon 01:00-02:00", "", at(2, 1, 0), false, 3 * 24 * time.Hour},
		{"sat 23:00-01:00", "", at(0, 0, 59), true, 0}, // of the night before
		{"sat 23:00-01:00", "", at(0, 1, 0), false, 6*24*time.Hour + 22*time.Hour},
	} {
		w := windows(t, c.text, c.zone)
		if w.Open(c.now) != c.open {
			t.Errorf("%v at %v: open %v", w, c.now, !c.open)
		}
		opens := w.Opens(c.now)
		if c.open != opens.IsZero() {
			t.Errorf("%v at %v opens %v", w, c.now, opens)
		} else if !c.open && opens.Sub(c.now.Truncate(time.Minute)) != c.opens {
			t.Errorf("%v at %v opens %v later, want %v", w, c.now, opens.Sub(c.now), c.opens)
		}
	}
}

func TestWindowsKnowTheirPartOfTheWeek(t *testing.T) {
	for text, want := range map[string]float64{"": 1, "00:00-24:00": 1, "12:00-00:00": 0.5,
		"sat 00:00-24:00; sat 06:00-12:00": 1.0 / 7} {
		if got := windows(t, text, "").Part(); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestWindowsThatCannotBeReadAreRefusedWithTheFix(t *testing.T) {
	for _, c := range []struct{ text, zone, want string }{
		{"22:00", "", "such as 22:00-06:00"},
		{"22:00-22:00", "", "such as 22:00-06:00"},
		{"24:00-06:00", "", "such as 22:00-06:00"},
		{"22:00-25:00", "", "such as 22:00-06:00"},
		{"9:00-12:00", "", "such as 22:00-06:00"},
		{"payday 22:00-06:00", "", `days "payday"`},
		{"mon 22:00 - 06:00", "", "mon-fri 22:00-06:00"},
		{"22:00-06:00;", "", "want days and times"},
		{"22:00-06:00", "Middle/Earth", "use UTC, local or an offset"},
		{strings.Repeat("00:01-00:02;", 17) + "00:01-00:02", "", "at most 16"},
		{"mon " + strings.Repeat(" ", 300) + "00:01-00:02", "", "in 256"},
	} {
		if _, err := Parse(c.text, c.zone); err == nil ||
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("%q %q: %v", c.text, c.zone, err)
		}
	}
}

// What one has shown the other takes: they cross the wire as text.
func TestWindowsAreReadAsTheyWereShown(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	words := []string{"mon", "fri", "-", ",", " ", ";", "22:00", "06:00", "00:00", "24:00", "x"}
	now, read := time.Unix(1_900_000_000, 0), 0
	for range 20_000 {
		var text strings.Builder
		for range 1 + rng.IntN(8) {
			text.WriteString(words[rng.IntN(len(words))])
		}
		w, err := Parse(text.String(), "+02:00")
		if err != nil {
			continue
		}
		read++
		again, err := Parse(w.Text(), w.Zone())
		if err != nil || again.Part() != w.Part() || w.Part() < 0 || w.Part() > 1 {
			t.Errorf("%q: %v, %v", text.String(), again, err)
		}
		if opens := w.Opens(now); w.Open(now) != opens.IsZero() ||
			!opens.IsZero() && !w.Open(opens) {
			t.Errorf("%q does not open at %v", text.String(), opens)
		}
	}
	if read < 20 {
		t.Errorf("only %d were windows", read)
	}
}
