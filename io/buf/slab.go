package buf

import "sync"

// slab is 2 MiB of the arena. It serves buffers of one class; which one is decided when it is
// taken from the pool's list of idle slabs.
type slab struct {
	pool *Pool
	mem  []byte
	bufs []Buf // one per block, made when the slab is first used and kept for ever

	// Guarded by the lock of the class that owns the slab.
	class      int
	used       int
	free       *Buf
	prev, next *slab // list of slabs of the class that have a free buffer
	listed     bool
}

// class is the set of slabs that serve one buffer size.
type class struct {
	mu    sync.Mutex
	size  int
	avail *slab // slabs with at least one free buffer
}

// shape cuts an idle slab into buffers of the class.
func (s *slab) shape(index, size int) {
	if s.bufs == nil {
		s.bufs = make([]Buf, blocksPerSlab)
	}
	s.class, s.used, s.free = index, 0, nil
	for off := MaxSize - size; off >= 0; off -= size {
		b := &s.bufs[off/BlockSize]
		b.slab = s
		b.mem = s.mem[off : off+size : off+size]
		b.next = s.free
		s.free = b
	}
}

// take returns a free buffer of the class, or nil when none of its slabs has one.
func (c *class) take() *Buf {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.avail
	if s == nil {
		return nil
	}
	return c.takeFrom(s)
}

// adopt adds a freshly shaped slab and takes the first buffer from it.
func (c *class) adopt(s *slab) *Buf {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link(s)
	return c.takeFrom(s)
}

func (c *class) takeFrom(s *slab) *Buf {
	b := s.free
	s.free, b.next = b.next, nil
	s.used++
	if s.free == nil {
		c.unlink(s)
	}
	return b
}

// give takes a buffer back. It returns the slab when that became empty and the class has
// another one to serve from, so that the memory can change class.
func (c *class) give(b *Buf) (idle *slab) {
	s := b.slab
	c.mu.Lock()
	defer c.mu.Unlock()
	b.next = s.free
	s.free = b
	s.used--
	if !s.listed {
		c.link(s)
	}
	if s.used > 0 || (c.avail == s && s.next == nil) {
		return nil
	}
	c.unlink(s)
	return s
}

// evict gives up an empty slab, if the class has one.
func (c *class) evict() *slab {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := c.avail; s != nil; s = s.next {
		if s.used == 0 {
			c.unlink(s)
			return s
		}
	}
	return nil
}

func (c *class) link(s *slab) {
	s.prev, s.next, s.listed = nil, c.avail, true
	if c.avail != nil {
		c.avail.prev = s
	}
	c.avail = s
}

func (c *class) unlink(s *slab) {
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		c.avail = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	}
	s.prev, s.next, s.listed = nil, nil, false
}
