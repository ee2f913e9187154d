package disk

import (
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
)

// What a medium does by itself, with no operation failing at the time: sectors that cannot be
// read back, bits that flip, and writes that are gone after a while.

// stalePage is a write that the device will forget: the content before it, and how many more
// reads of the block see the write.
type stalePage struct {
	old  *page
	left int
}

// BadSectors makes the sectors of a range latent sector errors: whoever reads one gets ErrIO,
// until it is written, as the device then takes another place for it. A write that a power cut
// loses leaves the sector bad. It panics when there is no such file or range.
func (s *Sim) BadSectors(name string, off, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	node := s.medium("BadSectors", name, off, n)
	if node.bad == nil {
		node.bad = map[int64]bool{}
	}
	for at := off / SectorSize; at*SectorSize < off+n; at++ {
		node.bad[at] = true
	}
}

// FlipBit inverts one bit of a file on the medium; unsynced content of the block is lost, as with
// Corrupt. It panics when there is no such bit.
func (s *Sim) FlipBit(name string, bit int64) {
	s.Corrupt(name, bit/8, []byte{s.byteAt(name, bit/8) ^ 1<<(bit%8)})
}

func (s *Sim) byteAt(name string, off int64) byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.medium("FlipBit", name, off, 1).block(off / BlockSize)[off%BlockSize]
}

// StaleWrites makes the device forget writes for which where says so: they are acknowledged,
// durable ones too, and the next reads of each block, as many as it says, see them. After that,
// or after a power cut, the block has its old content again and keeps it. nil removes the hook;
// writes it took before are forgotten all the same.
func (s *Sim) StaleWrites(where func(name string, off int64) (reads int, stale bool)) {
	s.setFaults(func(f *faults) { f.stale = where })
}

// medium returns the file that a fault concerns. Called with the lock held.
func (s *Sim) medium(what, name string, off, n int64) *inode {
	node := s.files[name]
	if node == nil || off < 0 || off+n > node.size {
		panic("disk: " + what + " of " + name + ": no such file or range")
	}
	return node
}

// latent reports the first bad sector of a range. What waits in the cache can be read.
func (n *inode) latent(off int64, want int) error {
	if len(n.bad) == 0 {
		return nil
	}
	for at := off / SectorSize; at*SectorSize < off+int64(want); at++ {
		if n.bad[at] && !n.cached(at*SectorSize/BlockSize) {
			return failed(ErrIO, Read, n.name, at*SectorSize, fmt.Errorf("unreadable sector"))
		}
	}
	return nil
}

func (n *inode) cached(block int64) bool {
	return slices.ContainsFunc(n.unsynced, func(w pending) bool { return w.block == block })
}

// heal ends the errors of a block that was written to the medium.
func (n *inode) heal(block int64) {
	if len(n.bad) == 0 {
		return
	}
	for i := range int64(BlockSize / SectorSize) {
		delete(n.bad, block*(BlockSize/SectorSize)+i)
	}
}

// forget notes that the write of a block is one the device will forget.
func (n *inode) forget(block int64, old *page, reads int) {
	if block < 0 || block*BlockSize >= n.size {
		return
	}
	if n.stale == nil {
		n.stale = map[int64]*stalePage{}
	}
	n.stale[block] = &stalePage{old: old, left: reads}
}

// serve is a block as a read sees it now.
func (n *inode) serve(block int64) *page {
	st := n.stale[block]
	switch {
	case st == nil:
	case st.left > 0:
		st.left--
	default:
		delete(n.stale, block)
		n.current[block], n.durable[block] = st.old, st.old
		n.unsynced = slices.DeleteFunc(n.unsynced, func(w pending) bool {
			return w.block == block
		})
	}
	return n.block(block)
}

// crashed is what a power cut leaves of the medium's faults and of forgotten writes.
func (n *inode) crashed(after *inode) {
	for block, st := range n.stale {
		after.durable[block] = st.old
	}
}

var fingerprintSeed = maphash.MakeSeed()

// Fingerprint is a number that two disks have in common when a power cut that loses everything
// unsynced leaves the same directories, files and bytes of them: to tell whether a crash state
// was met before. It holds within one process. Faults of the medium do not count.
func (s *Sim) Fingerprint() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var h maphash.Hash
	h.SetSeed(fingerprintSeed)
	for _, dir := range slices.Sorted(maps.Keys(s.dirs)) {
		fmt.Fprintf(&h, "%s/\n", dir)
	}
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		node := s.files[name]
		fmt.Fprintf(&h, "%s %d\n", name, node.size)
		for block := int64(0); block*BlockSize < node.size; block++ {
			if p := node.durable[block]; p != nil && *p != zeroPage {
				fmt.Fprintf(&h, "%d ", block)
				h.Write(p[:])
			}
		}
	}
	return h.Sum64()
}
