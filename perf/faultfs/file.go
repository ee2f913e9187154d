package faultfs

import (
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"syscall"
)

// file is the state of a file that is open or has unsynced data: what of it only the cache has.
type file struct {
	fs   *FS
	ino  uint64
	back *os.File

	mu    sync.Mutex
	name  string // path from the root of the mount; follows renames
	size  int64  // as readers see it
	sure  int64  // length of the backing file
	pages map[int64]*page
	open  int  // handles
	gone  bool // unlinked, and that is durable
}

// page holds the unsynced sectors of 4 KiB.
type page struct {
	data [pageBytes]byte
	mask uint8 // sectors that are newer here than in the backing file
}

// write takes data into the cache.
func (f *file) write(data []byte, off int64) syscall.Errno {
	f.mu.Lock()
	defer f.mu.Unlock()
	end := off + int64(len(data))
	if grow := end - f.size; grow > 0 {
		if !f.fs.space.take(grow) {
			return syscall.ENOSPC
		}
		f.size = end
	}
	for len(data) > 0 {
		at := off % pageBytes
		n := min(pageBytes-at, int64(len(data)))
		p := f.page(off / pageBytes)
		if err := f.fill(p, off/pageBytes, at, at+n); err != nil {
			return syscall.EIO
		}
		copy(p.data[at:at+n], data[:n])
		data, off = data[n:], off+n
	}
	return 0
}

func (f *file) page(number int64) *page {
	p := f.pages[number]
	if p == nil {
		p = &page{}
		f.pages[number] = p
		f.fs.cached.Add(pageBytes)
	}
	return p
}

// fill marks the sectors of a range in a page; those that are written in part get the rest first.
func (f *file) fill(p *page, number, from, to int64) error {
	for s := from / sectorBytes; s*sectorBytes < to; s++ {
		lo, hi := s*sectorBytes, (s+1)*sectorBytes
		if p.mask&(1<<s) == 0 && (lo < from || hi > to) {
			_, err := f.back.ReadAt(p.data[lo:hi], number*pageBytes+lo)
			if err != nil && err != io.EOF {
				return err
			}
		}
		p.mask |= 1 << s
	}
	return nil
}

// read fills dest with what a reader sees and returns how much lies inside the file.
func (f *file) read(dest []byte, off int64) (int, syscall.Errno) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if off >= f.size {
		return 0, 0
	}
	dest = dest[:min(int64(len(dest)), f.size-off)]
	n, err := f.back.ReadAt(dest, off)
	if err != nil && err != io.EOF {
		return 0, syscall.EIO
	}
	clear(dest[n:])
	end := off + int64(len(dest))
	for number := off / pageBytes; number*pageBytes < end; number++ {
		p := f.pages[number]
		if p == nil {
			continue
		}
		for s := range int64(pageSectors) {
			lo := number*pageBytes + s*sectorBytes
			from, to := max(lo, off), min(lo+sectorBytes, end)
			if p.mask&(1<<s) != 0 && from < to {
				at := number * pageBytes
				copy(dest[from-off:to-off], p.data[from-at:to-at])
			}
		}
	}
	return len(dest), 0
}

// sync makes the unsynced sectors that touch a range durable, in order; a power cut ends it where
// it is. With whole it is every sector and the length.
func (f *file) sync(from, to int64, whole bool) syscall.Errno {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fs.lies.Load() {
		return 0
	}
	return f.persist(from, to, whole)
}

func (f *file) persist(from, to int64, whole bool) syscall.Errno {
	if whole {
		from, to = 0, f.size
	}
	for _, number := range f.numbers(from, to) {
		if f.fs.dying.Load() {
			return syscall.EIO
		}
		if err := f.writeBack(number, from, to); err != nil {
			return syscall.EIO
		}
	}
	if whole && f.sure < f.size {
		if err := f.back.Truncate(f.size); err != nil {
			return syscall.EIO
		}
		f.sure = f.size
	}
	return 0
}

// numbers lists the pages that touch a range, in order.
func (f *file) numbers(from, to int64) []int64 {
	var list []int64
	if (to-from)/pageBytes < int64(len(f.pages)) {
		for n := from / pageBytes; n*pageBytes < to; n++ {
			if f.pages[n] != nil {
				list = append(list, n)
			}
		}
		return list
	}
	for n := range f.pages {
		if n*pageBytes < to && (n+1)*pageBytes > from {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	return list
}

// writeBack writes the unsynced sectors of a page that touch a range.
func (f *file) writeBack(number, from, to int64) error {
	p := f.pages[number]
	for s := 0; s < pageSectors; {
		first := s
		for s < pageSectors && p.mask&(1<<s) != 0 && f.touches(number, s, from, to) {
			s++
		}
		if first == s {
			s++
			continue
		}
		if err := f.put(p, number, first, s); err != nil {
			return err
		}
	}
	f.drop(number, p)
	return nil
}

func (f *file) touches(number int64, sector int, from, to int64) bool {
	at := number*pageBytes + int64(sector)*sectorBytes
	return at < to && at+sectorBytes > from
}

// put writes sectors of a page to the backing file; they are durable then.
func (f *file) put(p *page, number int64, first, end int) error {
	at := number*pageBytes + int64(first)*sectorBytes
	data := p.data[first*sectorBytes : end*sectorBytes]
	data = data[:max(0, min(int64(len(data)), f.size-at))]
	if _, err := f.back.WriteAt(data, at); err != nil {
		return err
	}
	for s := first; s < end; s++ {
		p.mask &^= 1 << s
	}
	f.sure = max(f.sure, at+int64(len(data)))
	return nil
}

// drop forgets a page of which every sector is durable.
func (f *file) drop(number int64, p *page) {
	if p.mask == 0 {
		delete(f.pages, number)
		f.fs.cached.Add(-pageBytes)
	}
}

// truncate sets the length, durably.
func (f *file) truncate(size int64) syscall.Errno {
	f.mu.Lock()
	defer f.mu.Unlock()
	if size > f.size && !f.fs.space.take(size-f.size) {
		return syscall.ENOSPC
	}
	if err := f.back.Truncate(size); err != nil {
		return syscall.EIO
	}
	for _, number := range f.numbers(size, max(size, f.size)+pageBytes) {
		p := f.pages[number]
		for s := range pageSectors {
			if number*pageBytes+int64(s)*sectorBytes >= size {
				p.mask &^= 1 << s
			}
		}
		if cut := size - number*pageBytes; cut > 0 && cut < pageBytes {
			clear(p.data[cut:])
		}
		f.drop(number, p)
	}
	f.fs.space.give(max(0, f.size-size))
	f.size, f.sure = size, size
	return 0
}

// allocate makes room for a range, durably, and lengthens the file when it passes its end.
func (f *file) allocate(off, n int64) syscall.Errno {
	f.mu.Lock()
	defer f.mu.Unlock()
	if grow := off + n - f.size; grow > 0 {
		if !f.fs.space.take(grow) {
			return syscall.ENOSPC
		}
		f.size = off + n
	}
	if err := syscall.Fallocate(int(f.back.Fd()), 0, off, n); err != nil {
		return errnoOf(err)
	}
	f.sure = max(f.sure, off+n)
	return 0
}

// settle ends the file's life in memory: each unsynced sector is written with probability keep.
func (f *file) settle(rng *rand.Rand, keep float64) (kept, dropped int64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, number := range f.numbers(0, f.size) {
		p := f.pages[number]
		for s := range pageSectors {
			switch {
			case p.mask&(1<<s) == 0:
			case rng.Float64() >= keep:
				dropped++
			default:
				kept++
				if err := f.put(p, number, s, s+1); err != nil {
					return kept, dropped, err
				}
			}
		}
	}
	return kept, dropped, f.back.Close()
}
