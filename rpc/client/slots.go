package client

// slots is the table of requests in flight on one connection. A request id is an index and a
// generation, so that an answer to a request that was given up meets an empty or newer slot.
type slots struct {
	all  []slot
	free []uint32
	n    int
}

type slot struct {
	gen uint32
	x   *piece
}

// add stores x and returns its request id, which is never 0 and never pingID.
func (s *slots) add(x *piece) uint64 {
	var i uint32
	if n := len(s.free); n > 0 {
		i = s.free[n-1]
		s.free = s.free[:n-1]
	} else {
		i = uint32(len(s.all))
		s.all = append(s.all, slot{})
	}
	s.n++
	e := &s.all[i]
	e.gen = max((e.gen+1)&maxGen, 1)
	e.x = x
	return uint64(e.gen)<<32 | uint64(i)
}

const (
	maxGen = 1<<31 - 1
	pingID = 1 << 63
)

// take removes and returns the request of that id, or nil.
func (s *slots) take(id uint64) *piece {
	i := id & (1<<32 - 1)
	if i >= uint64(len(s.all)) || s.all[i].x == nil || uint64(s.all[i].gen) != id>>32 {
		return nil
	}
	return s.takeAt(int(i))
}

func (s *slots) takeAt(i int) *piece {
	x := s.all[i].x
	s.all[i].x = nil
	s.free = append(s.free, uint32(i))
	s.n--
	return x
}
