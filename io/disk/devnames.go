package disk

import (
	"fmt"
	"path"
	"slices"
	"sync"
)

// medium is what a directory lies on: the device, or in tests a file of a simulated disk, which
// knows what a power cut may leave.
type medium interface {
	ReadAt(p []byte, off int64) (int, error)
	WriteVec(vec [][]byte, off int64, durable bool) error
	Sync() error
	Size() int64
}

// deviceNames is the directory of a device: which names there are, and where their files lie.
//
// Each change is one sector, written durably to the first copy of the directory and then to the
// second: the first write decides. New content lies in blocks that were free, and is durable
// before the entry names it. So a power cut leaves a change done or not begun, and opening ends
// what is half done: it takes of two copies the newer one, writes the other again, and frees of
// two entries with one name (a Rename that replaced a file) the older one.
//
// Blocks are free again when nothing names them and no file in them is open.
type deviceNames struct {
	m  medium
	sb superblock

	mu     sync.Mutex // held across the writes of a change, so that changes have an order
	names  map[string]*devNode
	slots  []int64 // free ones; the last is used next
	gen    uint64  // of the newest entry
	space  *space
	broken error // a failed write: what the directory says is not known any more
}

// devNode is what a name stands for.
type devNode struct {
	entry
	refs int // open files, and one for the name; guarded by deviceNames.mu
}

// find returns the file of a name and counts one more that uses it.
func (d *deviceNames) find(what, name string) (*devNode, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.names[name]
	if n == nil || n.kind != entryFile {
		return nil, fmt.Errorf("%w: %s %s", ErrNotExist, what, name)
	}
	n.refs++
	return n, nil
}

// release counts one user of a file less.
func (d *deviceNames) release(n *devNode) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drop(n)
}

// drop is release with the lock held.
func (d *deviceNames) drop(n *devNode) {
	if n.refs--; n.refs == 0 {
		d.space.give(n.extent())
	}
}

// place checks that a file of the name can stand in its directory. Called with the lock held.
func (d *deviceNames) place(what, name string) error {
	if d.broken != nil {
		return fmt.Errorf("%w: %s %s: an earlier change failed: %w", ErrIO, what, name, d.broken)
	}
	if len(name) > maxDevicePath {
		return fmt.Errorf("%w: %s %s: a name on a device has at most %d bytes", ErrInvalid, what,
			name, maxDevicePath)
	}
	if !d.isDir(path.Dir(name)) {
		return fmt.Errorf("%w: %s %s: directory %s", ErrNotExist, what, name, path.Dir(name))
	}
	if d.isDir(name) {
		return fmt.Errorf("%w: %s %s: is a directory", ErrExists, what, name)
	}
	return nil
}

func (d *deviceNames) isDir(name string) bool {
	n := d.names[name]
	return name == "." || n != nil && n.kind == entryDir
}

// create makes a file of zeroes, and counts the caller as a user of it.
func (d *deviceNames) create(name string, size int64) (*devNode, error) {
	vacant := func() error {
		if err := d.place("create", name); err != nil {
			return err
		}
		if d.names[name] != nil {
			return fmt.Errorf("%w: create %s", ErrExists, name)
		}
		return nil
	}
	n, err := d.allocate("create", name, size, false, vacant)
	if err != nil {
		return nil, err
	}
	if err := d.fill(n); err != nil {
		return nil, d.abandon("create", n, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := vacant(); err != nil { // another one was faster
		d.drop(n)
		return nil, err
	}
	if err := d.enter("create", n); err != nil {
		return nil, err
	}
	n.refs++
	return n, nil
}

// write makes a file of some bytes, which takes the place of one that has the name.
func (d *deviceNames) write(name string, data []byte) error {
	n, err := d.allocate("write", name, int64(len(data)), true, func() error {
		return d.place("write", name)
	})
	if err != nil {
		return err
	}
	if len(data) > 0 {
		page := aligned(int(n.extent().count) * BlockSize)
		copy(page, data)
		if err := d.m.WriteVec([][]byte{page}, n.first*BlockSize, true); err != nil {
			return d.abandon("write", n, err)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.place("write", name); err != nil {
		d.drop(n)
		return err
	}
	return d.enter("write", n)
}

// allocate takes blocks for a file that may be made as far as allowed says.
func (d *deviceNames) allocate(
	what, name string, size int64, fromEnd bool, allowed func() error,
) (*devNode, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := allowed(); err != nil {
		return nil, err
	}
	n := &devNode{entry: entry{kind: entryFile, name: name, size: size}, refs: 1}
	e, ok := d.space.take(n.extent().count, fromEnd)
	if !ok {
		return nil, fmt.Errorf("%w: %s %s: needs %d bytes in a row, %d are free, %d in a row",
			ErrNoSpace, what, name, size, d.space.free*BlockSize, d.space.largest()*BlockSize)
	}
	n.first = e.first
	return n, nil
}

// abandon gives the blocks of a file back that could not be made.
func (d *deviceNames) abandon(what string, n *devNode, err error) error {
	d.release(n)
	return fmt.Errorf("disk: %s %s: %w", what, n.name, err)
}

// fill writes zeroes over a file and makes them durable. Writing matters: the first write of a
// block that was never written is slow on devices that map blocks, and a file in place of a
// device has none yet.
func (d *deviceNames) fill(n *devNode) error {
	for off := int64(0); off < n.size; {
		p := zeroes()[:min(zeroChunk, n.size-off)]
		if err := d.m.WriteVec([][]byte{p}, n.first*BlockSize+off, false); err != nil {
			return err
		}
		off += int64(len(p))
	}
	return d.m.Sync()
}

// enter gives a name to a file that is whole, in place of the file that had it. Called with the
// lock held.
func (d *deviceNames) enter(what string, n *devNode) error {
	old := d.names[n.name]
	if old != nil {
		n.slot = old.slot
	} else {
		if len(d.slots) == 0 {
			d.drop(n)
			return fmt.Errorf("%w: %s %s: the device has its %d files", ErrNoSpace, what, n.name,
				d.sb.entries)
		}
		n.slot = d.slots[len(d.slots)-1]
	}
	if err := d.commit(what, &n.entry); err != nil {
		return err
	}
	d.names[n.name] = n
	if old != nil {
		d.drop(old)
	} else {
		d.slots = d.slots[:len(d.slots)-1]
	}
	return nil
}

// rename moves a file to a name, in place of the file that has it.
func (d *deviceNames) rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.names[from]
	if n == nil || n.kind != entryFile {
		return fmt.Errorf("%w: rename %s", ErrNotExist, from)
	}
	if err := d.place("rename", to); err != nil || from == to {
		return err
	}
	moved := n.entry
	moved.name = to
	if err := d.commit("rename", &moved); err != nil {
		return err
	}
	n.entry = moved
	delete(d.names, from)
	old := d.names[to]
	d.names[to] = n
	if old == nil {
		return nil
	}
	return d.vacate("rename", old)
}

// remove takes a file's name away.
func (d *deviceNames) remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.names[name]
	if n == nil || n.kind != entryFile {
		return fmt.Errorf("%w: remove %s", ErrNotExist, name)
	}
	if err := d.place("remove", name); err != nil {
		return err
	}
	delete(d.names, name)
	return d.vacate("remove", n)
}

// vacate frees the slot of a file that has no name any more. Called with the lock held.
func (d *deviceNames) vacate(what string, n *devNode) error {
	if err := d.commit(what, &entry{kind: entryFree, slot: n.slot}); err != nil {
		return err
	}
	d.slots = append(d.slots, n.slot)
	d.drop(n)
	return nil
}

// mkdirAll makes a directory, its parents first.
func (d *deviceNames) mkdirAll(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for end := range dir + "/" {
		if end == 0 || end < len(dir) && dir[end] != '/' || d.isDir(dir[:end]) {
			continue
		}
		n := &devNode{entry: entry{kind: entryDir, name: dir[:end]}, refs: 1}
		if err := d.place("mkdir", n.name); err != nil {
			return err
		}
		if d.names[n.name] != nil {
			return fmt.Errorf("%w: mkdir %s: %s is a file", ErrExists, dir, n.name)
		}
		if err := d.enter("mkdir", n); err != nil {
			return err
		}
	}
	return nil
}

// list returns the base names in a directory, sorted.
func (d *deviceNames) list(dir string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.isDir(dir) {
		return nil, fmt.Errorf("%w: list %s", ErrNotExist, dir)
	}
	names := []string{}
	for name := range d.names {
		if path.Dir(name) == dir {
			names = append(names, path.Base(name))
		}
	}
	slices.Sort(names)
	return names, nil
}

// read returns all bytes of a small file.
func (d *deviceNames) read(name string) ([]byte, error) {
	n, err := d.find("read", name)
	if err != nil {
		return nil, err
	}
	defer d.release(n)
	if err := checkLength("read", name, n.size); err != nil || n.size == 0 {
		return []byte{}, err
	}
	page := aligned(int(n.extent().count) * BlockSize)
	if _, err := d.m.ReadAt(page, n.first*BlockSize); err != nil {
		return nil, fmt.Errorf("disk: read %s: %w", name, err)
	}
	return page[:n.size], nil
}

// commit writes an entry with the next generation to both copies of its slot. After a failure
// nobody knows which of two states the device has, so nothing is changed any more until it is
// opened again. Called with the lock held.
func (d *deviceNames) commit(what string, e *entry) error {
	e.gen = d.gen + 1
	for _, copyAt := range []int64{d.sb.firstCopy(), d.sb.secondCopy()} {
		if err := d.writeEntry(copyAt, e); err != nil {
			d.broken = err
			return fmt.Errorf("disk: %s %s: entry %d of the directory: %w", what, e.name, e.slot,
				err)
		}
	}
	d.gen = e.gen
	return nil
}

// writeEntry replaces a sector of a copy of the directory. Its block is what is written, as
// devices like it; the other sectors are written with what they hold.
func (d *deviceNames) writeEntry(copyAt int64, e *entry) error {
	at := copyAt + e.slot/entriesPerBlock*BlockSize
	page := aligned(BlockSize)
	if _, err := d.m.ReadAt(page, at); err != nil {
		return err
	}
	e.put(page[e.slot%entriesPerBlock*entrySize:], d.sb.id)
	return d.m.WriteVec([][]byte{page}, at, true)
}

// room is how many bytes files may have in all, and how many are free.
func (d *deviceNames) room() (total, free int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sb.blocks().count * BlockSize, d.space.free * BlockSize
}
