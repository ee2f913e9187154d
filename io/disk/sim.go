package disk

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
)

// SectorSize is what a device writes whole: the unit in which a power cut tears.
const SectorSize = 512

// SimConfig of a simulated disk.
type SimConfig struct {
	// Seed drives everything random.
	Seed uint64
	// Bytes is the capacity, 0: 1 TiB. Files count with their size, written or not.
	Bytes int64
	// Inline makes Flush call Done on the calling goroutine, in order of submission, so
	// that a single-goroutine simulation is deterministic. Otherwise a goroutine that lives
	// only while there is something to deliver calls it, as on the real disk.
	Inline bool
	// Reorder delivers the completions of one Flush in an order drawn from Seed.
	Reorder bool
}

// Sim is a disk in memory that knows which sectors a power cut may lose. Written memory is
// copied, block by block; copies for crashes share the blocks.
type Sim struct {
	cfg SimConfig

	mu       sync.Mutex
	idle     *sync.Cond // signalled when an operation is delivered
	rng      *rand.Rand
	files    map[string]*inode
	dirs     map[string]bool
	used     int64
	seq      uint64 // numbers every block written
	closed   bool
	faults   faults
	stall    *stall
	stats    Stats
	queue    []*Op
	flushing bool
	done     []*Op
	deliver  bool
	inflight int
}

type page [BlockSize]byte

// inode is a file's content: blocks as read back, and blocks as a power cut leaves them.
// Pages are never changed once they are in a map, so that clones can share them.
type inode struct {
	name     string
	size     int64
	current  map[int64]*page
	durable  map[int64]*page
	unsynced []pending            // by seq
	bad      map[int64]bool       // sectors of the medium that cannot be read
	stale    map[int64]*stalePage // blocks whose newest write the device will forget
}

// pending is a block written and not yet durable.
type pending struct {
	seq   uint64
	block int64
	data  *page
}

var zeroPage page

// NewSim returns an empty simulated disk.
func NewSim(cfg SimConfig) *Sim {
	if cfg.Bytes == 0 {
		cfg.Bytes = simBytes
	}
	s := &Sim{
		cfg:   cfg,
		rng:   rand.New(rand.NewPCG(cfg.Seed, 0x5eed)),
		files: map[string]*inode{},
		dirs:  map[string]bool{".": true},
	}
	s.idle = sync.NewCond(&s.mu)
	return s
}

func newInode(name string, size int64) *inode {
	return &inode{name: name, size: size, current: map[int64]*page{}, durable: map[int64]*page{}}
}

// Open implements Disk.
func (s *Sim) Open(name string) (File, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	node, err := s.find("open", name)
	if err != nil {
		return nil, err
	}
	return &simFile{sim: s, node: node, name: name}, nil
}

// Create implements Disk. It is atomic: after a power cut the file is whole or absent.
func (s *Sim) Create(name string, size int64) (File, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if err := checkSize(name, size); err != nil {
		return nil, err
	}
	s.step(Step{Kind: StepCreate, Name: name, Len: size})
	if err := s.writeFault(name, 0); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.place("create", name); err != nil {
		return nil, err
	}
	if s.files[name] != nil {
		return nil, fmt.Errorf("%w: create %s", ErrExists, name)
	}
	if err := s.reserve("create", name, size); err != nil {
		return nil, err
	}
	node := newInode(name, size)
	s.files[name] = node
	s.stats.Writes++
	s.stats.WriteBytes += uint64(size)
	s.stats.Syncs++
	return &simFile{sim: s, node: node, name: name}, nil
}

// Rename implements Disk.
func (s *Sim) Rename(oldname, newname string) error {
	if err := cmp.Or(checkName(oldname), checkName(newname)); err != nil {
		return err
	}
	s.step(Step{Kind: StepRename, Name: oldname, To: newname})
	s.mu.Lock()
	defer s.mu.Unlock()
	node, err := s.find("rename", oldname)
	if err != nil {
		return err
	}
	if err := s.place("rename", newname); err != nil {
		return err
	}
	if oldname == newname {
		return nil
	}
	if old := s.files[newname]; old != nil {
		s.used -= old.size
	}
	delete(s.files, oldname)
	s.files[newname] = node
	node.name = newname
	return nil
}

// Remove implements Disk. Open handles go on working, as on a real file system.
func (s *Sim) Remove(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	s.step(Step{Kind: StepRemove, Name: name})
	s.mu.Lock()
	defer s.mu.Unlock()
	node, err := s.find("remove", name)
	if err != nil {
		return err
	}
	delete(s.files, name)
	s.used -= node.size
	return nil
}

// List implements Disk.
func (s *Sim) List(dir string) ([]string, error) {
	dir, err := checkDir(dir)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("%w: list %s", ErrClosed, dir)
	}
	if !s.dirs[dir] {
		return nil, fmt.Errorf("%w: list %s", ErrNotExist, dir)
	}
	names := []string{}
	for name := range s.files {
		if path.Dir(name) == dir {
			names = append(names, path.Base(name))
		}
	}
	for name := range s.dirs {
		if name != "." && path.Dir(name) == dir {
			names = append(names, path.Base(name))
		}
	}
	slices.Sort(names)
	return names, nil
}

// MkdirAll implements Disk.
func (s *Sim) MkdirAll(dir string) error {
	dir, err := checkDir(dir)
	if err != nil {
		return err
	}
	s.step(Step{Kind: StepMkdir, Name: dir})
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("%w: mkdir %s", ErrClosed, dir)
	}
	for d := dir; d != "."; d = path.Dir(d) {
		if s.files[d] != nil {
			return fmt.Errorf("%w: mkdir %s: %s is a file", ErrExists, dir, d)
		}
	}
	for d := dir; d != "."; d = path.Dir(d) {
		s.dirs[d] = true
	}
	return nil
}

// ReadFile implements Disk.
func (s *Sim) ReadFile(name string) ([]byte, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	node, err := s.find("read", name)
	if err != nil {
		return nil, err
	}
	if err := checkLength("read", name, node.size); err != nil {
		return nil, err
	}
	data := make([]byte, node.size)
	if err := node.latent(0, len(data)); err != nil {
		s.stats.Errors++
		return nil, err
	}
	for off := 0; off < len(data); off += BlockSize {
		copy(data[off:], node.serve(int64(off / BlockSize))[:])
	}
	s.stats.Reads++
	s.stats.ReadBytes += uint64(len(data))
	return data, nil
}

// WriteFile implements Disk.
func (s *Sim) WriteFile(name string, data []byte) error {
	if err := checkName(name); err != nil {
		return err
	}
	if err := checkLength("write", name, int64(len(data))); err != nil {
		return err
	}
	s.step(Step{Kind: StepWriteFile, Name: name, Len: int64(len(data))})
	if err := s.writeFault(name, 0); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.place("write", name); err != nil {
		return err
	}
	if err := s.reserve("write", name, int64(len(data))); err != nil {
		return err
	}
	if old := s.files[name]; old != nil {
		s.used -= old.size
	}
	node := newInode(name, int64(len(data)))
	for off := 0; off < len(data); off += BlockSize {
		p := new(page)
		copy(p[:], data[off:])
		node.current[int64(off/BlockSize)] = p
		node.durable[int64(off/BlockSize)] = p
	}
	s.files[name] = node
	s.stats.DurableWrites++
	s.stats.WriteBytes += uint64(len(data))
	return nil
}

// Space implements Disk.
func (s *Sim) Space() (total, free int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg.Bytes, max(0, s.cfg.Bytes-s.used), nil
}

// Stats implements Disk.
func (s *Sim) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// Close implements Disk. It sends what is queued and waits for it.
func (s *Sim) Close() error {
	s.Flush()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("%w: close", ErrClosed)
	}
	for s.inflight > 0 && !s.cfg.Inline {
		s.idle.Wait()
	}
	s.closed = true
	return nil
}

// find returns the file of a name. Called with the lock held.
func (s *Sim) find(what, name string) (*inode, error) {
	if s.closed {
		return nil, fmt.Errorf("%w: %s %s", ErrClosed, what, name)
	}
	node := s.files[name]
	if node == nil {
		return nil, fmt.Errorf("%w: %s %s", ErrNotExist, what, name)
	}
	return node, nil
}

// place checks that a file of the name can stand in its directory. Called with the lock held.
func (s *Sim) place(what, name string) error {
	switch {
	case s.closed:
		return fmt.Errorf("%w: %s %s", ErrClosed, what, name)
	case !s.dirs[path.Dir(name)]:
		return fmt.Errorf("%w: %s %s: directory %s", ErrNotExist, what, name, path.Dir(name))
	case s.dirs[name]:
		return fmt.Errorf("%w: %s %s: is a directory", ErrExists, what, name)
	}
	return nil
}

// reserve takes bytes from the budget. Called with the lock held.
func (s *Sim) reserve(what, name string, size int64) error {
	if free := s.cfg.Bytes - s.used; size > free {
		return fmt.Errorf("%w: %s %s: needs %d bytes, %d free", ErrNoSpace, what, name, size, free)
	}
	s.used += size
	return nil
}

// String lists the files and their sizes, for the messages of failed tests.
func (s *Sim) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []string
	for name, node := range s.files {
		lines = append(lines, fmt.Sprintf("%s %d bytes, %d blocks unsynced",
			name, node.size, len(node.unsynced)))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
