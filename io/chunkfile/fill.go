package chunkfile

import (
	"errors"
	"fmt"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// A slot file is made as a draft under another name, so that a file with a slot's name has
// valid metadata from its first moment: whatever is unreadable later was lost, not unfinished.

// wake tells the filler that a slot was taken or space was freed.
func (p *Pool) wake() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// fill keeps the reserve of free slots until Close. When no slot can be made it waits for the
// next wake: Create reports the reason to its caller.
func (p *Pool) fill() {
	defer p.stopped.Done()
	failed := false
	for {
		select {
		case <-p.stop:
			return
		case <-p.kick:
		}
		err := p.refill()
		if err != nil && !failed && !errors.Is(err, ErrClosed) {
			p.log.Warn("chunkfile: cannot keep free slots ready", "disk", p.cfg.Name,
				"error", err)
		}
		failed = err != nil
	}
}

func (p *Pool) refill() error {
	for {
		p.mu.RLock()
		enough := len(p.free) >= p.cfg.Reserve
		p.mu.RUnlock()
		if enough {
			return nil
		}
		if err := p.spares(); err != nil {
			return err
		}
		if err := p.addSlot(p.cfg.Reserve); err != nil {
			return err
		}
	}
}

// spares refuses a slot file that would not leave what others are to have. A disk that does not
// know what is free says so when it has no room.
func (p *Pool) spares() error {
	one, spare := p.geometry.slotBytes(), p.cfg.SpareBytes
	_, free, err := p.disk.Space()
	if err != nil || free >= one+spare {
		return nil
	}
	return fmt.Errorf("%w: disk %s: %d bytes free, a slot file needs %d and %d are kept for "+
		"others", ErrNoSpace, p.cfg.Name, free, one, spare)
}

// addSlot makes a slot file unless that many are free.
func (p *Pool) addSlot(enough int) error {
	p.work.RLock()
	defer p.work.RUnlock()
	p.filling.Lock()
	defer p.filling.Unlock()
	number, err := p.nextNumber(enough)
	if err != nil || number == MaxSlots {
		return err
	}
	s, err := p.makeSlot(number)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slots[number] = s
	p.free = append(p.free, s)
	return nil
}

// nextNumber returns the lowest unused number, or MaxSlots when enough slots are free.
func (p *Pool) nextNumber(enough int) (uint64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed.Load() {
		return 0, ErrClosed
	}
	if len(p.free) >= enough {
		return MaxSlots, nil
	}
	one := p.geometry.slotBytes()
	used := int64(len(p.slots)) * one
	if limit := p.cfg.LimitBytes; limit > 0 && used+one > limit {
		return 0, fmt.Errorf("%w: disk %s: %d slot files take %d of at most %d bytes, one more "+
			"needs %d: raise the store's limit or delete volumes",
			ErrNoSpace, p.cfg.Name, len(p.slots), used, limit, one)
	}
	for p.slots[p.next] != nil {
		p.next++
	}
	if p.next >= MaxSlots {
		return 0, fmt.Errorf("%w: disk %s: %d slots are the most of one pool",
			ErrNoSpace, p.cfg.Name, MaxSlots)
	}
	return p.next, nil
}

// makeSlot writes a slot file and gives it its name.
func (p *Pool) makeSlot(number uint64) (*slot, error) {
	s := &slot{number: number, name: p.path(slotName(number))}
	draft := p.path(fmt.Sprintf("%s%010d", draftPrefix, number))
	err := p.makeDraft(s, draft)
	if err == nil {
		err = p.disk.Rename(draft, s.name)
	}
	if err == nil {
		s.file, err = p.disk.Open(s.name)
	}
	if err == nil {
		return s, nil
	}
	_ = p.disk.Remove(draft) // Open removes it too
	if errors.Is(err, disk.ErrNoSpace) {
		total, free, _ := p.disk.Space()
		return nil, fmt.Errorf("%w: disk %s: %d of %d bytes free, a slot file needs %d: %w",
			ErrNoSpace, p.cfg.Name, free, total, p.geometry.slotBytes(), err)
	}
	return nil, fmt.Errorf("chunkfile: make slot %d: %w", number, err)
}

func (p *Pool) makeDraft(s *slot, draft string) error {
	size := p.geometry.slotBytes()
	file, err := p.disk.Create(draft, size)
	if errors.Is(err, disk.ErrExists) { // left by an attempt that failed
		if err = p.disk.Remove(draft); err == nil {
			file, err = p.disk.Create(draft, size)
		}
	}
	if err != nil {
		return err
	}
	return errors.Join(p.format(s, file), file.Close())
}

// format writes both halves of a slot as free, above any version it had.
func (p *Pool) format(s *slot, file disk.File) error {
	g := p.geometry
	image := alignedBytes(2 * g.metaSize)
	old := header{half: 0, state: stateFree, store: p.cfg.StoreID, slot: s.number,
		version: s.top.version + 2, chunkSize: g.chunkSize}
	top := old
	top.half, top.version = 1, old.version+1
	old.next = top.follower()
	encodeHalf(image[:g.metaSize], g, &old, nil)
	encodeHalf(image[g.metaSize:], g, &top, nil)
	if err := file.WriteVec([][]byte{image}, 0, true); err != nil {
		return err
	}
	s.top, s.unsure = top, false
	return nil
}

// retire makes a slot free, durably. When the newest durable version already says so, there
// is nothing to write.
func (p *Pool) retire(s *slot) error {
	if s.top.state == stateFree && !s.unsure {
		return nil
	}
	g := p.geometry
	j := p.jobs.take(nil)
	defer p.jobs.put(j)
	top := header{half: s.inactive(), state: stateFree, store: p.cfg.StoreID, slot: s.number,
		version: s.top.version + 1, chunkSize: g.chunkSize}
	encodeHalf(j.bytes, g, &top, nil)
	s.unsure = true
	if err := s.file.WriteVec([][]byte{j.bytes}, g.halfOffset(top.half), true); err != nil {
		return fmt.Errorf("chunkfile: free slot %d: %w", s.number, err)
	}
	old := s.top
	s.top, s.unsure = top, false
	return p.seal(s, old)
}

// seal writes the header of the version before the newest again, naming its successor.
func (p *Pool) seal(s *slot, old header) error {
	j := p.jobs.take(nil)
	defer p.jobs.put(j)
	old.next = s.top.follower()
	encodeHeader(j.bytes, &old)
	vec := [][]byte{j.bytes[:headerPage]}
	if err := s.file.WriteVec(vec, p.geometry.halfOffset(old.half), true); err != nil {
		return fmt.Errorf("chunkfile: seal version %d of slot %d: %w", old.version, s.number, err)
	}
	return nil
}

// renew returns a damaged slot to service. A file of the wrong size is replaced.
func (p *Pool) renew(s *slot) error {
	if s.file != nil && s.file.Size() == p.geometry.slotBytes() {
		if err := p.format(s, s.file); err != nil {
			return fmt.Errorf("chunkfile: renew slot %d: %w", s.number, err)
		}
		return nil
	}
	p.filling.Lock()
	defer p.filling.Unlock()
	fresh, err := p.makeSlot(s.number)
	if err != nil {
		return err
	}
	if s.file != nil {
		_ = s.file.Close() // replaced: nothing of it is needed
	}
	s.file, s.top = fresh.file, fresh.top
	return nil
}
