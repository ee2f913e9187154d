package faultfs

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Config says what is mounted where.
type Config struct {
	Dir        string // backing directory; made when absent. What is durable is in Dir/data
	At         string // mount point; made when absent
	CacheBytes int64  // 0: DefaultCacheBytes
}

// FS is a mounted file system.
type FS struct {
	cfg     Config
	server  *fuse.Server
	journal journal
	rules   rules
	space   space
	cached  atomic.Int64
	durable chan struct{} // stands for "DSYNC" where a request's context has its cancellation

	lies     atomic.Bool  // see Lie
	dying    atomic.Bool  // the cut has begun: what is half done stays so
	power    sync.RWMutex // held for reading by operations, for writing by the cut
	off      bool
	released chan struct{} // closed when operations after the cut may fail
	cut      chan struct{} // closed by the cut: ends stalls

	mu    sync.Mutex
	files map[uint64]*file
}

// Losses is what a power cut did to a disk.
type Losses struct {
	Kept, Dropped int64 // unsynced sectors that the disk had written, and had not
	NamesLost     int64 // changes of names that were taken back
}

// Mount mounts the durable content of cfg.Dir.
func Mount(cfg Config) (*FS, error) {
	if cfg.Dir == "" || cfg.At == "" {
		return nil, fmt.Errorf("%w: Config.Dir and Config.At must name directories", ErrInvalid)
	}
	if cfg.CacheBytes == 0 {
		cfg.CacheBytes = DefaultCacheBytes
	}
	f := &FS{cfg: cfg, files: map[uint64]*file{}, durable: make(chan struct{}),
		released: make(chan struct{}), cut: make(chan struct{}),
		journal: journal{data: filepath.Join(cfg.Dir, "data"),
			lost: filepath.Join(cfg.Dir, "lost")}}
	if err := os.RemoveAll(f.journal.lost); err != nil {
		return nil, fmt.Errorf("faultfs: %w", err)
	}
	for _, dir := range []string{f.journal.data, f.journal.lost, cfg.At} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("faultfs: %w", err)
		}
	}
	return f, f.mount()
}

func (f *FS) mount() (err error) {
	at := time.Duration(0) // nothing is cached outside
	opts := &fs.Options{EntryTimeout: &at, AttrTimeout: &at, NegativeTimeout: &at}
	opts.MountOptions = fuse.MountOptions{Name: "faultfs", FsName: f.cfg.Dir, MaxWrite: writeMax,
		MaxBackground: requestsMax, DirectMountStrict: true, DisableXAttrs: true}
	raw := &throughWrites{fs.NewNodeFS(&node{fs: f}, opts), f.durable}
	if f.server, err = fuse.NewServer(raw, f.cfg.At, &opts.MountOptions); err != nil {
		return fmt.Errorf("faultfs: mount %s: %w", f.cfg.At, err)
	}
	go f.server.Serve()
	if err := f.server.WaitMount(); err != nil {
		return fmt.Errorf("faultfs: mount %s: %w", f.cfg.At, err)
	}
	return nil
}

// throughWrites hands on which writes are to be durable: the kernel says so in the flags of a
// request, and the library has no place for them.
type throughWrites struct {
	fuse.RawFileSystem
	durable chan struct{}
}

// Write implements fuse.RawFileSystem.
func (t *throughWrites) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (
	uint32, fuse.Status,
) {
	if in.Flags&syscall.O_DSYNC != 0 {
		cancel = t.durable
	}
	return t.RawFileSystem.Write(cancel, in, data)
}

// begin lets the faults have their way with an operation, and counts it in unless it failed.
func (f *FS) begin(name string, kinds Kind, off, n int64) syscall.Errno {
	met := f.rules.match(name, kinds, off, n)
	if met != nil && met.wait() > 0 {
		timer := time.NewTimer(met.wait())
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-met.ended:
		case <-f.cut:
		}
	}
	f.power.RLock()
	if f.off {
		f.power.RUnlock()
		<-f.released
		return syscall.EIO
	}
	if met != nil && met.Errno != 0 {
		f.power.RUnlock()
		return met.Errno
	}
	return 0
}

func (f *FS) end() { f.power.RUnlock() }

// Fail makes operations fail with the rule's Errno or be late by its Delay, until Clear.
func (f *FS) Fail(r *Rule) error { return f.rules.add(r) }

// BadSector makes reads that touch a sector of a file fail until it is written again.
func (f *FS) BadSector(name string, off int64) (*Rule, error) {
	r := &Rule{Pattern: name, Kinds: Read, Off: off &^ (sectorBytes - 1), Length: sectorBytes,
		Errno: syscall.EIO, healing: true}
	return r, f.rules.add(r)
}

// Stall holds every operation on matching files for d from now on.
func (f *FS) Stall(pattern string, d time.Duration) (*Rule, error) {
	r := &Rule{Pattern: pattern, Kinds: All, Until: time.Now().Add(d)}
	return r, f.rules.add(r)
}

// Lie makes a disk that answers that data is durable and does nothing, until the next Resume. A
// test of power cuts that is worth something fails on it.
func (f *FS) Lie() { f.lies.Store(true) }

// Full lets no more than left bytes be allocated from now on.
func (f *FS) Full(left int64) { f.space.limit(left) }

// Clear ends every fault.
func (f *FS) Clear() {
	f.rules.clear()
	f.space.free()
}

// Root is where the durable content is: files keep the names that they have in the mount.
func (f *FS) Root() string { return f.journal.data }

// Unsynced returns the bytes in the cache and the changes of names that a cut could take.
func (f *FS) Unsynced() (bytes int64, names int) { return f.cached.Load(), f.journal.pending() }

// Cut takes the power away. When it returns nothing more becomes durable, and operations get no
// answer until Release, so that programs can be killed before they see that anything is wrong.
func (f *FS) Cut() {
	f.dying.Store(true)
	f.power.Lock()
	defer f.power.Unlock()
	if !f.off {
		f.off = true
		close(f.cut)
	}
}

// Release lets the operations that Cut holds fail with EIO: call it once those who wait for them
// have been killed, as a process that waits for a disk does not end before.
func (f *FS) Release() { close(f.released) }

// Resume ends the power cut, after Cut and Release and once nobody uses the mount: what the disk
// did not get round to is lost, as the seed decides, and what is left is mounted anew.
func (f *FS) Resume(seed uint64) (*FS, Losses, error) {
	if err := f.unmount(); err != nil {
		return nil, Losses{}, err
	}
	lost, err := f.settle(rand.New(rand.NewPCG(seed, 0)))
	if err != nil {
		return nil, lost, fmt.Errorf("faultfs: power cut of %s: %w", f.cfg.Dir, err)
	}
	again, err := Mount(f.cfg)
	return again, lost, err
}

// settle decides what of the unsynced data the disk had written. Some cuts lose all of it, some
// nothing, most something.
func (f *FS) settle(rng *rand.Rand) (lost Losses, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	keep := []float64{0, 0, 0.05, 0.5, 0.5, 0.95, 1}[rng.IntN(7)]
	var inos []uint64
	for ino := range f.files {
		inos = append(inos, ino)
	}
	slices.Sort(inos)
	var errs []error
	for _, ino := range inos {
		kept, dropped, err := f.files[ino].settle(rng, keep)
		lost.Kept, lost.Dropped = lost.Kept+kept, lost.Dropped+dropped
		errs = append(errs, err)
	}
	f.files = nil
	pending := f.journal.pending()
	first := rng.IntN(pending + 1)
	lost.NamesLost = int64(pending - first)
	return lost, errors.Join(append(errs, f.journal.settle(first))...)
}

// Close unmounts in order: everything is durable then. The backing directory stays.
func (f *FS) Close() error {
	if err := f.unmount(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, file := range f.files {
		file.mu.Lock()
		if errno := file.persist(0, 0, true); errno != 0 {
			errs = append(errs, errno)
		}
		errs = append(errs, file.back.Close())
		file.mu.Unlock()
	}
	f.files = nil
	if err := errors.Join(append(errs, f.journal.commit())...); err != nil {
		return fmt.Errorf("faultfs: close %s: %w", f.cfg.Dir, err)
	}
	return nil
}

func (f *FS) unmount() error {
	if err := f.server.Unmount(); err != nil {
		return fmt.Errorf("faultfs: unmount %s: %w", f.cfg.At, err)
	}
	return nil
}

// attach returns the state of a file that is being opened, with one handle more. back is kept when
// the state is new, and closed otherwise.
func (f *FS) attach(name string, back *os.File, fresh bool) (*file, error) {
	st, err := back.Stat()
	if err != nil {
		return nil, errors.Join(err, back.Close())
	}
	ino := st.Sys().(*syscall.Stat_t).Ino
	f.mu.Lock()
	defer f.mu.Unlock()
	known := f.files[ino]
	if known != nil && !fresh {
		known.mu.Lock()
		known.open++
		known.mu.Unlock()
		return known, back.Close()
	}
	if known != nil { // the number of a file that is no more
		_ = known.back.Close()
	}
	opened := &file{fs: f, ino: ino, back: back, name: name, size: st.Size(), sure: st.Size(),
		pages: map[int64]*page{}, open: 1}
	f.files[ino] = opened
	return opened, nil
}

// detach gives a handle back; a file without handles and unsynced data is forgotten.
func (f *FS) detach(file *file) {
	f.mu.Lock()
	defer f.mu.Unlock()
	file.mu.Lock()
	defer file.mu.Unlock()
	file.open--
	if file.open > 0 || len(file.pages) > 0 && !file.gone || f.files[file.ino] != file {
		return
	}
	f.cached.Add(-pageBytes * int64(len(file.pages)))
	delete(f.files, file.ino)
	_ = file.back.Close()
}

func (f *FS) known(ino uint64) *file {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.files[ino]
}

// errnoOf is the number behind an error of package os.
func errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	switch {
	case err == nil:
		return 0
	case errors.As(err, &errno):
		return errno
	}
	return syscall.EIO
}

// renamed follows a rename in the state of the file, or of the files below a directory.
func (f *FS) renamed(from, to string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, file := range f.files {
		file.mu.Lock()
		if rest, ok := strings.CutPrefix(file.name, from); ok && (rest == "" || rest[0] == '/') {
			file.name = to + rest
		}
		file.mu.Unlock()
	}
}

// commitNames makes the changes of names durable, and forgets the data of files that are gone.
func (f *FS) commitNames() error {
	if err := f.journal.commit(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, file := range f.files {
		file.mu.Lock()
		var st syscall.Stat_t
		if err := syscall.Fstat(int(file.back.Fd()), &st); err == nil && st.Nlink == 0 {
			file.gone = true
		}
		if file.gone && file.open == 0 {
			f.cached.Add(-pageBytes * int64(len(file.pages)))
			delete(f.files, file.ino)
			_ = file.back.Close()
		}
		file.mu.Unlock()
	}
	return nil
}
