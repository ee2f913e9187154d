package floor

import "fmt"

// Against is a job's figure beside the floor.
type Against struct {
	Direction string  `json:"direction"` // read or write
	Figure    float64 `json:"figure"`    // us or IOPS
	Floor     float64 `json:"floor"`
	Ratio     float64 `json:"ratio"` // of latencies: over the floor; of rates: of it
	Unit      string  `json:"unit"`  // us or IOPS
	What      string  `json:"what"`  // in words: what the floor is made of
}

// Job is what Compare must know of a job, in one direction.
type Job struct {
	Engine  string
	Write   bool
	Durable bool // writes are durable when they end
	Depth   int  // of all clones together
	Block   int
	P50     float64 // us
	IOPS    float64
}

// Compare lays a job beside the floor; nil when there is no floor for what it did.
func (f *Floor) Compare(j Job) *Against {
	if j.Block != f.Block || j.Engine == "null" || j.P50 <= 0 {
		return nil
	}
	a := &Against{Direction: "read", Unit: "us"}
	if j.Write {
		a.Direction = "write"
	}
	if j.Depth > 1 {
		return f.rate(j, a)
	}
	device, what := f.Read.P50, fmt.Sprintf("read %.0f us", f.Read.P50)
	if j.Write {
		device, what = f.Write.P50, fmt.Sprintf("durable write %.0f us", f.Write.P50)
	}
	trips := 0
	switch j.Engine {
	case "ashlar":
		trips = 1
		if j.Write {
			trips = 2
		}
	case "nbd":
		trips = 2
		if j.Write {
			trips = 3
		}
	case "net":
		device, trips, what = 0, 1, ""
	case "uring":
		if j.Write && !j.Durable {
			return nil
		}
	}
	if a.Floor = device + float64(trips)*f.Trip.P50; trips > 0 {
		if what != "" {
			what += " + "
		}
		what += fmt.Sprintf("%d x round trip %.0f us", trips, f.Trip.P50)
	}
	a.Figure, a.What, a.Ratio = j.P50, what, j.P50/a.Floor
	return a
}

// rate compares operations a second with those of the raw file at depth 32.
func (f *Floor) rate(j Job, a *Against) *Against {
	a.Floor, a.What = f.ReadQ.IOPS, "reads of the raw file at depth 32"
	if j.Write {
		a.Floor, a.What = f.WriteQ.IOPS, "durable writes of the raw file at depth 32, one copy"
	}
	if j.Engine == "net" || j.Engine == "uring" && j.Write && !j.Durable {
		return nil
	}
	a.Figure, a.Ratio, a.Unit = j.IOPS, j.IOPS/a.Floor, "IOPS"
	return a
}

// String is the line of a report.
func (a *Against) String() string {
	if a.Unit == "IOPS" {
		return fmt.Sprintf("%s: %.0f IOPS, %.2f of %.0f (%s)", a.Direction, a.Figure, a.Ratio,
			a.Floor, a.What)
	}
	return fmt.Sprintf("%s: p50 %.0f us, %.2f x the floor of %.0f us (%s)", a.Direction, a.Figure,
		a.Ratio, a.Floor, a.What)
}
