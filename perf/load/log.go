package load

import "time"

// Line is one line of a log: at a time in ms, a value, the direction and the block size (0 for a
// mean over several).
type Line struct {
	AtMS  int64
	Value int64
	Kind  Kind
	Block int
}

// Log is what was asked for in Job.Logs. Lat and Clat are ns, BW is KiB/s, IOPS operations/s.
type Log struct {
	Lat, Clat, BW, IOPS []Line
	Full                bool // a log reached its bound, and ends there
}

// logger makes a Log. It is pure.
type logger struct {
	cfg  Logs
	log  *Log
	side [2]window
}

// window sums what ends in one line's time.
type window struct {
	number       int64
	ops          int64
	lat, clat    float64
	rateWindow   int64
	rOps, rBytes int64
}

func newLogger(cfg Logs) *logger {
	if !cfg.BW && !cfg.Lat && !cfg.IOPS {
		return nil
	}
	return &logger{cfg: cfg, log: &Log{}}
}

func (l *logger) put(to *[]Line, line Line) {
	if len(*to) >= logMax {
		l.log.Full = true
		return
	}
	*to = append(*to, line)
}

func (l *logger) add(op *Op, at int64, lat, clat uint64) {
	w := &l.side[op.Kind]
	if l.cfg.Lat {
		l.latency(w, op, at, lat, clat)
	}
	every := int64(l.cfg.Every)
	if every == 0 {
		every = int64(sampleEvery)
	}
	for ; w.rateWindow < at/every; w.rateWindow++ {
		l.rates(w, op.Kind, (w.rateWindow+1)*every, time.Duration(every))
	}
	w.rOps++
	w.rBytes += int64(len(op.Data))
}

func (l *logger) latency(w *window, op *Op, at int64, lat, clat uint64) {
	if l.cfg.Every == 0 {
		ms := at / int64(time.Millisecond)
		l.put(&l.log.Lat, Line{ms, int64(lat), op.Kind, len(op.Data)})
		l.put(&l.log.Clat, Line{ms, int64(clat), op.Kind, len(op.Data)})
		return
	}
	if n := at / int64(l.cfg.Every); n > w.number {
		l.means(w, op.Kind, (w.number+1)*int64(l.cfg.Every))
		w.number = n
	}
	w.ops++
	w.lat += float64(lat)
	w.clat += float64(clat)
}

func (l *logger) means(w *window, kind Kind, at int64) {
	if w.ops > 0 {
		ms := at / int64(time.Millisecond)
		l.put(&l.log.Lat, Line{ms, int64(w.lat / float64(w.ops)), kind, 0})
		l.put(&l.log.Clat, Line{ms, int64(w.clat / float64(w.ops)), kind, 0})
	}
	w.ops, w.lat, w.clat = 0, 0, 0
}

func (l *logger) rates(w *window, kind Kind, at int64, every time.Duration) {
	ms := at / int64(time.Millisecond)
	if l.cfg.BW {
		kib := float64(w.rBytes) / 1024 / every.Seconds()
		l.put(&l.log.BW, Line{ms, int64(kib), kind, 0})
	}
	if l.cfg.IOPS {
		l.put(&l.log.IOPS, Line{ms, int64(float64(w.rOps) / every.Seconds()), kind, 0})
	}
	w.rOps, w.rBytes = 0, 0
}

// finish writes the lines that have begun.
func (l *logger) finish(at int64) *Log {
	for k := range l.side {
		w := &l.side[k]
		if l.cfg.Lat && l.cfg.Every > 0 {
			l.means(w, Kind(k), at)
		}
		every := l.cfg.Every
		if every == 0 {
			every = sampleEvery
		}
		if part := time.Duration(at - w.rateWindow*int64(every)); w.rOps > 0 && part > 0 {
			l.rates(w, Kind(k), at, part)
		}
	}
	return l.log
}
