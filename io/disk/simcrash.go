package disk

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// Sector is one sector written and not yet durable. A sector written twice since it was last
// durable appears twice.
type Sector struct {
	Name string
	Off  int64
	// Same: the medium has these bytes already, and no other write of the sector waits. Kept or
	// lost, the cut leaves the same disk. Only Unsynced fills it in.
	Same bool
	seq  uint64
}

// CrashPlan says which unsynced sectors a power cut leaves on the medium.
type CrashPlan struct {
	// Keep decides for sector i of Unsynced; nil: drawn from Seed.
	Keep func(i int, s Sector) bool
	// Seed chooses, when Keep is nil, among nothing kept, everything, a prefix, and each
	// sector by a coin of a drawn bias.
	Seed uint64
}

// KeepNothing is the plan of a cut that loses every unsynced sector.
func KeepNothing(int, Sector) bool { return false }

// KeepAll is the plan of a cut that loses none; also what killing the process leaves.
func KeepAll(int, Sector) bool { return true }

// Unsynced returns the sectors a power cut may lose now, in the order they were written.
func (s *Sim) Unsynced() []Sector {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.unsynced()
	type place struct {
		name string
		off  int64
	}
	writes := make(map[place]int, len(list))
	for _, sec := range list {
		writes[place{sec.Name, sec.Off}]++
	}
	for i := range list {
		sec := &list[i]
		sec.Same = writes[place{sec.Name, sec.Off}] == 1 && s.files[sec.Name].same(sec)
	}
	return list
}

// same reports whether the medium has what an unsynced sector would bring.
func (n *inode) same(sec *Sector) bool {
	old, at := n.durable[sec.Off/BlockSize], sec.Off%BlockSize
	if old == nil {
		old = &zeroPage
	}
	if n.bad[sec.Off/SectorSize] || n.stale[sec.Off/BlockSize] != nil {
		return false
	}
	return [SectorSize]byte(n.written(sec.seq)[at:]) == [SectorSize]byte(old[at:])
}

func (s *Sim) unsynced() []Sector {
	var list []Sector
	for _, node := range s.files {
		for _, w := range node.unsynced {
			for i := range int64(BlockSize / SectorSize) {
				list = append(list, Sector{
					Name: node.name, Off: w.block*BlockSize + i*SectorSize, seq: w.seq,
				})
			}
		}
	}
	slices.SortFunc(list, func(a, b Sector) int {
		if a.seq != b.seq {
			return int(a.seq) - int(b.seq)
		}
		return int(a.Off - b.Off)
	})
	return list
}

// Crash returns a new disk with what a power cut at this moment leaves: all that is durable,
// and of the unsynced sectors those the plan keeps, the others with their old content. This
// disk goes on unchanged. The new one has no hooks and no open files.
func (s *Sim) Crash(p CrashPlan) *Sim {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.unsynced()
	keep := p.Keep
	if keep == nil {
		keep = drawPlan(p.Seed, len(list))
	}
	cfg := s.cfg
	cfg.Seed ^= p.Seed
	c := NewSim(cfg)
	c.dirs = maps.Clone(s.dirs)
	c.used = s.used
	c.seq = s.seq
	for name, node := range s.files {
		c.files[name] = &inode{name: name, size: node.size, durable: maps.Clone(node.durable),
			bad: maps.Clone(node.bad)}
	}
	apply(c, s, list, keep)
	for name, node := range c.files {
		s.files[name].crashed(node)
		node.current = maps.Clone(node.durable)
	}
	return c
}

// apply overlays the kept sectors, oldest first, on the durable content of c.
func apply(c, s *Sim, list []Sector, keep func(int, Sector) bool) {
	type key struct {
		name  string
		block int64
	}
	own := map[key]*page{} // pages made here, not shared with s
	for i, sec := range list {
		if !keep(i, sec) {
			continue
		}
		node := c.files[sec.Name]
		block, at := sec.Off/BlockSize, sec.Off%BlockSize
		p := own[key{sec.Name, block}]
		if p == nil {
			p = new(page)
			if old := node.durable[block]; old != nil {
				*p = *old
			}
			own[key{sec.Name, block}] = p
			node.durable[block] = p
		}
		delete(node.bad, sec.Off/SectorSize)
		src := s.files[sec.Name].written(sec.seq)
		copy(p[at:at+SectorSize], src[at:])
	}
}

// written returns the unsynced block of a sequence number.
func (n *inode) written(seq uint64) *page {
	i, _ := slices.BinarySearchFunc(n.unsynced, seq, func(w pending, seq uint64) int {
		return int(w.seq) - int(seq)
	})
	return n.unsynced[i].data
}

func drawPlan(seed uint64, count int) func(int, Sector) bool {
	rng := rand.New(rand.NewPCG(seed, 0xc4a5))
	switch rng.IntN(5) {
	case 0:
		return KeepNothing
	case 1:
		return KeepAll
	case 2:
		limit := rng.IntN(count + 1)
		return func(i int, _ Sector) bool { return i < limit }
	}
	bias := rng.Float64()
	return func(int, Sector) bool { return rng.Float64() < bias }
}

// Corrupt overwrites bytes of a file behind the disk's back, on the medium: also unsynced
// content of those sectors is lost. It panics when there is no such file or range.
func (s *Sim) Corrupt(name string, off int64, p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	node := s.files[name]
	if node == nil || off < 0 || off+int64(len(p)) > node.size {
		panic("disk: Corrupt of " + name + ": no such file or range")
	}
	for len(p) > 0 {
		block, at := off/BlockSize, off%BlockSize
		fresh := *node.block(block)
		n := copy(fresh[at:], p)
		node.current[block] = &fresh
		node.durable[block] = &fresh
		node.unsynced = slices.DeleteFunc(node.unsynced, func(w pending) bool {
			return w.block == block
		})
		p = p[n:]
		off += int64(n)
	}
}
