package disk

import (
	"fmt"
	"log/slog"
	"sync"
)

// fdDisk is what the real disks have in common: files behind descriptors, the engine that runs
// what is submitted on them, and the counters. What names mean is for the disk that embeds it.
type fdDisk struct {
	root   string // the path it was opened by
	log    *slog.Logger
	gate   gate
	engine engine
	count  counters
	after  func() // set before the first operation; nil: nothing

	mu    sync.Mutex
	files map[*fdFile]struct{} // open files
}

// engine runs submitted operations.
type engine interface {
	submit(op *Op) // queues; never calls Done
	flush()
	flushHere()
	stop()        // nothing is in flight any more
	name() string // for the log
}

// newFDDisk returns a disk without an engine.
func newFDDisk(path string, log *slog.Logger) fdDisk {
	return fdDisk{root: path, log: log, files: map[*fdFile]struct{}{}}
}

func (d *fdDisk) newEngine(cfg Config) engine {
	if cfg.NoURing {
		d.log.Info("io_uring not used: the configuration says so", "dir", d.root)
		return newWorkers(d)
	}
	if cfg.limits == (ringLimits{}) {
		cfg.limits = ringLimits{entries: ringEntries, waiting: maxWaiting}
	}
	e, err := newRing(d, cfg.Arena, cfg.limits)
	if err == nil && cfg.refuse != nil {
		e.stop()
		err = cfg.refuse
	}
	if err != nil {
		d.log.Warn("io_uring not used: worker goroutines take its place",
			"dir", d.root, "reason", err)
		return newWorkers(d)
	}
	return e
}

// enter begins a call about files; leave the gate when it returns nil.
func (d *fdDisk) enter(what string, names ...string) error {
	for _, name := range names {
		if err := checkName(name); err != nil {
			return err
		}
	}
	return d.enterGate(what, names[0])
}

// enterDir begins a call about a directory and returns its clean name.
func (d *fdDisk) enterDir(what, dir string) (string, error) {
	dir, err := checkDir(dir)
	if err != nil {
		return "", err
	}
	return dir, d.enterGate(what, dir)
}

func (d *fdDisk) enterGate(what, name string) error {
	if !d.gate.enter() {
		return fmt.Errorf("%w: %s %s", ErrClosed, what, name)
	}
	return nil
}

// Flush implements Disk.
func (d *fdDisk) Flush() { d.engine.flush() }

// FlushHere implements Disk.
func (d *fdDisk) FlushHere() { d.engine.flushHere() }

// AfterBatch implements Disk.
func (d *fdDisk) AfterBatch(f func()) bool { d.after = f; return true }

func (d *fdDisk) afterBatch() {
	if d.after != nil {
		d.after()
	}
}

// Stats implements Disk.
func (d *fdDisk) Stats() Stats { return d.count.stats() }

// shut waits for what is in flight, ends the engine and closes the files that are still open.
func (d *fdDisk) shut() error {
	if !d.gate.shut() {
		return fmt.Errorf("%w: close %s", ErrClosed, d.root)
	}
	d.engine.flush()
	d.gate.wait()
	d.engine.stop()
	d.mu.Lock()
	open := d.files
	d.files = nil
	d.mu.Unlock()
	for f := range open {
		if f.gate.shut() {
			f.gate.wait()
			_ = f.home.release(f)
		}
	}
	return nil
}
