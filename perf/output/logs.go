package output

import (
	"bufio"
	"errors"
	"fmt"
	"os"

	"github.com/ashlar-storage/ashlar/perf/load"
)

// ErrLogFull: a log ended before its job.
var ErrLogFull = errors.New("output: log full")

// WriteLogs writes the logs that the jobs of the report asked for, numbered from 1 in their order,
// as fio does: NAME_bw.1.log. Lines are time in ms, value, direction, block size (0: several) and
// priority (0).
func (r *Report) WriteLogs() error {
	n := 0
	var errs []error
	for _, e := range r.Entries {
		for _, d := range e.Done {
			n++
			l := d.Result.Log
			if l == nil {
				continue
			}
			for _, f := range []struct {
				name, kind string
				lines      []load.Line
			}{{d.Job.BWLog, "bw", l.BW}, {d.Job.IOPSLog, "iops", l.IOPS},
				{d.Job.LatLog, "lat", l.Lat}, {d.Job.LatLog, "clat", l.Clat}} {
				if f.name != "" {
					errs = append(errs, writeLog(fmt.Sprintf("%s_%s.%d.log", f.name, f.kind, n),
						f.lines))
				}
			}
			if l.Full {
				errs = append(errs, fmt.Errorf("%w: job %s: a log ends before the job does: set "+
					"log_avg_msec", ErrLogFull, d.Job.Name))
			}
		}
	}
	return errors.Join(errs...)
}

func writeLog(name string, lines []load.Line) error {
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("output: %w", err)
	}
	w := bufio.NewWriter(f)
	for _, l := range lines {
		fmt.Fprintf(w, "%d, %d, %d, %d, 0\n", l.AtMS, l.Value, l.Kind, l.Block)
	}
	if err := errors.Join(w.Flush(), f.Close()); err != nil {
		return fmt.Errorf("output: %s: %w", name, err)
	}
	return nil
}
