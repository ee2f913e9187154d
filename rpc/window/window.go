package window

import (
	"fmt"
	"strings"
	"time"
)

const (
	maxWindows     = 16
	maxWindowsText = 256

	dayMinutes  = 24 * 60
	weekMinutes = 7 * dayMinutes
)

// Week is the parts of a week in which something may run. The zero value is all of it.
type Week struct {
	text string
	zone string // as given
	at   *time.Location
	open *[weekMinutes]bool // from Sunday, 00:00; nil: always
	part float64            // of the week
}

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// Parse reads windows such as "22:00-06:00" or "mon-fri 20:00-07:00; sat,sun 00:00-24:00". A
// window that ends before it begins ends on the day after. zone is UTC (also when it is empty),
// local, which is that of the machine, or an offset such as +02:00. An empty text is no windows: it
// may always run. An error names the part and what would do.
func Parse(text, zone string) (Week, error) {
	w := Week{text: strings.TrimSpace(text), zone: zone}
	var err error
	if w.at, err = parseZone(zone); err != nil || w.text == "" {
		return w, err
	}
	parts := strings.Split(w.text, ";")
	if len(w.text) > maxWindowsText || len(parts) > maxWindows {
		return w, fmt.Errorf("windows: %d in %d bytes, at most %d in %d", len(parts), len(w.text),
			maxWindows, maxWindowsText)
	}
	w.open = new([weekMinutes]bool)
	for _, part := range parts {
		if err := w.add(strings.TrimSpace(part)); err != nil {
			return Week{}, err
		}
	}
	minutes := 0
	for _, open := range w.open {
		if open {
			minutes++
		}
	}
	w.part = float64(minutes) / weekMinutes
	return w, nil
}

func parseZone(zone string) (*time.Location, error) {
	switch strings.ToLower(zone) {
	case "", "utc":
		return time.UTC, nil
	case "local":
		return time.Local, nil
	}
	t, err := time.Parse("-07:00", zone)
	if err != nil {
		return nil, fmt.Errorf("zone %.20q: use UTC, local or an offset such as +02:00", zone)
	}
	_, seconds := t.Zone()
	return time.FixedZone(zone, seconds), nil
}

// add opens one window.
func (w *Week) add(part string) error {
	fields := strings.Fields(part)
	days := "sun-sat"
	if len(fields) == 2 {
		days, fields = fields[0], fields[1:]
	}
	if len(fields) != 1 {
		return fmt.Errorf("window %.40q: want days and times, such as mon-fri 22:00-06:00", part)
	}
	on, err := parseDays(days)
	if err != nil {
		return err
	}
	from, to, found := strings.Cut(fields[0], "-")
	first, ok1 := parseMinute(from)
	last, ok2 := parseMinute(to)
	if !found || !ok1 || !ok2 || first == dayMinutes || first == last {
		return fmt.Errorf("window %.40q: want two times of a day, such as 22:00-06:00", part)
	}
	if last <= first {
		last += dayMinutes
	}
	for day, is := range on {
		for m := first; is && m < last; m++ {
			w.open[(day*dayMinutes+m)%weekMinutes] = true
		}
	}
	return nil
}

func parseMinute(text string) (int, bool) {
	if text == "24:00" {
		return dayMinutes, true
	}
	t, err := time.Parse("15:04", text)
	return t.Hour()*60 + t.Minute(), err == nil && len(text) == len("15:04")
}

// parseDays reads days and spans of them, such as mon-fri,sun.
func parseDays(text string) (on [7]bool, err error) {
	day := func(name string) int {
		for i, d := range weekdays {
			if strings.EqualFold(name, d) {
				return i
			}
		}
		return -1
	}
	for _, part := range strings.Split(text, ",") {
		from, to, span := strings.Cut(part, "-")
		first, last := day(from), day(from)
		if span {
			last = day(to)
		}
		if first < 0 || last < 0 {
			return on, fmt.Errorf("days %.40q: use %s, as in mon-fri or sat,sun", text,
				strings.Join(weekdays, ", "))
		}
		for d := first; ; d = (d + 1) % len(on) {
			if on[d] = true; d == last {
				break
			}
		}
	}
	return on, nil
}

// Text and Zone are what they were made of.
func (w Week) Text() string { return w.text }

// Zone is the zone as given; empty: UTC.
func (w Week) Zone() string { return w.zone }

// String shows them for people.
func (w Week) String() string {
	switch {
	case w.open == nil:
		return "always"
	case w.zone == "":
		return w.text + " UTC"
	}
	return w.text + " " + w.zone
}

func (w Week) minute(t time.Time) int {
	t = t.In(w.at)
	return int(t.Weekday())*dayMinutes + t.Hour()*60 + t.Minute()
}

// Open says whether one of them is open.
func (w Week) Open(t time.Time) bool { return w.open == nil || w.open[w.minute(t)] }

// Opens is when the next one opens; zero: never, or one is open. Where a clock is changed in
// between, it is wrong by as much.
func (w Week) Opens(t time.Time) time.Time {
	if w.Open(t) {
		return time.Time{}
	}
	at := w.minute(t)
	for n := 1; n < weekMinutes; n++ {
		if w.open[(at+n)%weekMinutes] {
			return t.Truncate(time.Minute).Add(time.Duration(n) * time.Minute)
		}
	}
	return time.Time{}
}

// Part is how much of a week they are open.
func (w Week) Part() float64 {
	if w.open == nil {
		return 1
	}
	return w.part
}
