package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ashlar-storage/ashlar/cmd/kernel/writelog"
	"github.com/ashlar-storage/ashlar/io/buf"
)

// errWrongBlocks: blocks do not hold what they must.
var errWrongBlocks = errors.New("blocks wrong")

// result is what a replay found.
type result struct {
	points     int
	states     [variants]int64
	blocks     int64 // judged
	held       int64 // of them, had to hold an acknowledged write
	sent       uint64
	done       int
	windows    []window
	caught     int64 // of the stale states
	violations []error
}

func (r *result) statesAll() (n int64) {
	return r.states[whole] + r.states[bare] + r.states[part]
}

// replayer recovers states on several disks at once.
type replayer struct {
	oracle *oracle
	dir    string
	free   chan *bench
	busy   sync.WaitGroup
	begin  time.Time

	mu sync.Mutex
	result
}

// bench is one disk to recover states on: a file, its mount point, and memory for the store.
type bench struct {
	file  *os.File
	mount string
	pool  *buf.Pool
}

// replay walks the log and recovers every state of it. Violations are in the result; an error says
// that the replay itself did not work.
func replay(w workshop, seed uint64, ops int) (*result, error) {
	o, err := w.oracle(seed, ops)
	if err != nil {
		return nil, err
	}
	base, err := os.ReadFile(w.base())
	if err != nil {
		return nil, err
	}
	f, log, err := w.openLog()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	dir, err := os.MkdirTemp(memoryDir(w.dir), "ashlar-kernel-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	r := &replayer{oracle: o, dir: dir, begin: time.Now(), free: make(chan *bench, replayers)}
	if err := r.makeBenches(); err != nil {
		return nil, err
	}
	walk := newWalker(base, seed)
	err = r.walk(log, walk)
	r.busy.Wait()
	for range replayers {
		b := <-r.free
		err = errors.Join(err, b.file.Close(), b.pool.Close()) // no buffer may be held still
	}
	r.points, r.sent, r.done, r.windows = walk.point, walk.sent, len(walk.done), walk.windows
	if err == nil && !walk.over {
		err = errors.New("kernel: the log ends before the workload does")
	}
	return &r.result, err
}

// openLog starts to read what was recorded; the caller closes the file.
func (w workshop) openLog() (*os.File, *writelog.Reader, error) {
	f, err := os.Open(w.recorded())
	if err != nil {
		return nil, nil, err
	}
	log, err := writelog.Open(bufio.NewReaderSize(f, 1<<20))
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, log, nil
}

// oracle is what the workload did: the log tells how many windows it took.
func (w workshop) oracle(seed uint64, ops int) (*oracle, error) {
	f, log, err := w.openLog()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	windows := 0
	var e writelog.Entry
	for err = log.Next(&e); err == nil; err = log.Next(&e) {
		if e.Text == markBegin {
			windows++
		}
	}
	if err != io.EOF {
		return nil, err
	}
	return workloadOf(seed, ops, windows), nil
}

func (r *replayer) makeBenches() error {
	for i := range replayers {
		pool, err := buf.NewPool(buf.Config{Bytes: poolBytes})
		if err != nil {
			return err
		}
		b := &bench{pool: pool, mount: filepath.Join(r.dir, fmt.Sprintf("mount%d", i))}
		f, err := os.Create(filepath.Join(r.dir, fmt.Sprintf("disk%d", i)))
		if err != nil {
			return err
		}
		b.file = f
		if err := errors.Join(f.Truncate(imageBytes), os.Mkdir(b.mount, 0o700)); err != nil {
			return err
		}
		r.free <- b
	}
	return nil
}

func (r *replayer) walk(log *writelog.Reader, walk *walker) error {
	fmt.Printf("kernel: %d entries in the log\n", log.Entries())
	var failed error
	give := func(s state) {
		b := <-r.free
		// The image is the walker's: it is on the bench before the walker goes on.
		if err := b.lay(s.image); err != nil {
			failed = err
		}
		r.busy.Add(1)
		go func() {
			defer r.busy.Done()
			r.check(b, s)
			r.free <- b
		}()
	}
	var e writelog.Entry
	for {
		err := log.Next(&e)
		if err == io.EOF {
			return failed
		}
		if err == nil {
			err = walk.add(&e, give)
		}
		if err = errors.Join(err, failed); err != nil {
			return err
		}
	}
}

// lay makes the bench's disk the image. Recovery has changed some of the file, so every block is
// compared and those that differ are written.
func (b *bench) lay(image []byte) error {
	have := make([]byte, 1<<20)
	for at := 0; at < len(image); at += len(have) {
		if _, err := b.file.ReadAt(have, int64(at)); err != nil {
			return err
		}
		if want := image[at : at+len(have)]; !bytes.Equal(have, want) {
			if _, err := b.file.WriteAt(want, int64(at)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *replayer) check(b *bench, s state) {
	judged, held, err := b.recover(r.oracle, s)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.states[s.variant]++
	if s.variant == stale {
		if errors.Is(err, errWrongBlocks) {
			r.caught++
		} else {
			fmt.Printf("kernel: canary at point %d is not found wrong: %v\n", s.point, err)
		}
		return
	}
	r.blocks += judged
	r.held += held
	if err != nil {
		err = fmt.Errorf("point %d, %s: %w", s.point, variantNames[s.variant], err)
		if len(r.violations) < violationsShown {
			fmt.Printf("VIOLATION %v\n", err)
		}
		r.violations = append(r.violations, err)
	}
	if n := r.statesAll(); n%100 == 0 {
		fmt.Printf("kernel: %d states recovered, point %d, %d violations, %v\n", n, s.point,
			len(r.violations), time.Since(r.begin).Round(time.Second))
	}
}

// recover mounts the state, starts the store on it, judges every block and has the file system
// checked.
func (b *bench) recover(o *oracle, s state) (judged, held int64, err error) {
	if err := run("mount", "-t", "ext4", "-o", "loop", b.file.Name(), b.mount); err != nil {
		return 0, 0, err
	}
	judged, held, err = b.judge(o, s)
	if err := errors.Join(err, b.unmount()); err != nil {
		return judged, held, err
	}
	return judged, held, run("e2fsck", "-fn", b.file.Name())
}

// unmount tries again while the mount is busy: the kernel lets go of a ring's files after the ring
// was closed, and another bench's program holds all files from its start until it has loaded.
func (b *bench) unmount() error {
	for end := time.Now().Add(opTime); ; time.Sleep(5 * time.Millisecond) {
		err := unix.Unmount(b.mount, 0)
		if err == nil || !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			return err
		}
	}
}

func (b *bench) judge(o *oracle, s state) (judged, held int64, err error) {
	h, err := openHost(filepath.Join(b.mount, storeDir), b.pool)
	if err != nil {
		return 0, 0, fmt.Errorf("recovery: %w", err)
	}
	defer func() { err = errors.Join(err, h.close(false)) }()
	done := func(n uint64) bool { return s.done[n] }
	var bad []error
	for block := 0; block < blocks; {
		id, chunk, _ := place(block)
		data, err := h.read(id, chunk)
		if err != nil {
			return judged, held, err
		}
		for at := 0; at < len(data); at += blockSize {
			had, err := o.check(block, data[at:at+blockSize], s.sent, done)
			if err != nil {
				bad = append(bad, err)
			}
			if had {
				held++
			}
			judged++
			block++
		}
	}
	if len(bad) > 0 {
		return judged, held, fmt.Errorf("%d %w, the first: %w", len(bad), errWrongBlocks, bad[0])
	}
	return judged, held, nil
}

func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return nil
}
