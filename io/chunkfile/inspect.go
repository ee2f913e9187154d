package chunkfile

import (
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// Inspector looks at slot files without a pool and without changing anything: with the code by
// which Open decides, and beyond what Open reads.
type Inspector struct {
	cfg      Config
	geometry geometry
	image    []byte
}

// SlotInfo is what a slot file says.
type SlotInfo struct {
	Slot   uint64
	File   string
	Size   int64
	Halves [2]HalfInfo
	// Rule is the row of the decision table that applies.
	Rule string
	// Newest is the half that is the truth, -1 when there is none.
	Newest int
	// Used: the slot holds the chunk ID. A damaged slot has the ID as far as it is known.
	Used bool
	ID   ID
	// Free: the slot is damaged and is known to hold no chunk, so that Open makes it anew.
	Free bool
	// Err is why the slot cannot be used; nil when it can.
	Err error

	table   *table
	version uint64
	from    origin
}

// HalfInfo is one copy of a slot's metadata.
type HalfInfo struct {
	// Offset is where it begins in the file.
	Offset int64
	// Err is what is wrong with it. The rest is what its header says, and empty when that
	// cannot be read.
	Err              error
	State            string
	Version, Applied uint64
	ID               ID
	Written          int
	NextState        string
	NextVersion      uint64
	NextID           ID
}

// BadBlock is a block that does not fit its crc, or cannot be read (Err).
type BadBlock struct {
	Block     int
	Offset    int64
	Want, Got uint32
	Err       error
}

// NewInspector needs Disk, Dir, StoreID and ChunkSize of a Config.
func NewInspector(cfg Config) (*Inspector, error) {
	cfg, err := cfg.normalize()
	if err != nil {
		return nil, err
	}
	g := newGeometry(cfg.ChunkSize)
	return &Inspector{cfg: cfg, geometry: g, image: alignedBytes(2 * g.metaSize)}, nil
}

// Slots lists the numbers of the slot files in order, and the names of files that are none.
func (in *Inspector) Slots() (numbers []uint64, strays []string, err error) {
	names, err := in.cfg.Disk.List(in.cfg.Dir)
	if err != nil {
		return nil, nil, fmt.Errorf("chunkfile: %w", err)
	}
	for _, name := range names {
		if n, ok := parseSlotName(name); ok {
			numbers = append(numbers, n)
		} else {
			strays = append(strays, name)
		}
	}
	slices.Sort(numbers)
	return numbers, strays, nil
}

// Slot reads all metadata of a slot. What is wrong is in the result.
func (in *Inspector) Slot(number uint64) *SlotInfo {
	s := &SlotInfo{Slot: number, File: in.cfg.Dir + "/" + slotName(number), Newest: -1}
	file, err := in.cfg.Disk.Open(s.File)
	if err != nil {
		s.Err = fmt.Errorf("chunkfile: open slot: %w", err)
		return s
	}
	defer file.Close()
	s.Size = file.Size()
	if f := in.geometry.checkSize(file); f != nil {
		s.Err = in.corrupt(s.File, 0, f)
		return s
	}
	var unread [2]error
	if _, err := file.ReadAt(in.image, 0); err != nil {
		unread, err = salvage(file, in.image, in.geometry)
		if err != nil {
			s.Err = fmt.Errorf("chunkfile: read metadata: %w", err)
			return s
		}
	}
	in.judge(s, unread)
	return s
}

// judge fills in what the metadata that was read amounts to.
func (in *Inspector) judge(s *SlotInfo, unread [2]error) {
	d := decide(in.image, in.geometry, in.cfg.StoreID, s.Slot)
	d.note(unread)
	if d.verdict != verdictDamaged {
		s.table = newTable(in.geometry)
		d.load(in.image, in.geometry, s.table)
	}
	s.Rule = d.reason
	for i := range d.halves {
		s.Halves[i] = in.half(s.File, uint8(i), &d.halves[i])
	}
	if d.verdict != verdictDamaged {
		s.Newest = int(d.newest)
		s.Used = d.halves[d.newest].header.state == stateUsed
		top := &d.halves[d.newest].header
		s.ID, s.from, s.version = top.id, top.from, top.version
		return
	}
	s.table = nil
	_, claimed := newestClaim(&d.halves, in.cfg.StoreID, s.Slot)
	s.from, s.version = origin{}, 0
	s.ID, s.Used = claimed.id, claimed.state == stateUsed
	s.Free = leftFree(&d.halves, in.geometry, claimed)
	errs := []error{fmt.Errorf("%w: %s: %s", ErrCorrupt, s.File, d.reason)}
	for i := range s.Halves {
		errs = append(errs, s.Halves[i].Err)
	}
	s.Err = errors.Join(errs...)
}

func (in *Inspector) half(file string, half uint8, r *halfRead) HalfInfo {
	off := in.geometry.halfOffset(half)
	h := &r.header
	info := HalfInfo{Offset: off, State: h.state.String(), Version: h.version,
		Applied: h.applied, ID: h.id, Written: int(h.written),
		NextState: h.next.state.String(), NextVersion: h.next.version, NextID: h.next.id}
	if r.fault != nil {
		info.Err = in.corrupt(file, off, r.fault)
		if r.unread != nil {
			info.Err = fmt.Errorf("%w: %w", info.Err, r.unread)
		}
	}
	return info
}

// String names a state as it is shown.
func (s slotState) String() string {
	switch s {
	case stateFree:
		return "free"
	case stateUsed:
		return "used"
	}
	return ""
}

func (in *Inspector) corrupt(file string, off int64, f *fault) error {
	return &CorruptError{Disk: in.cfg.Name, File: file, Offset: off + int64(f.at),
		Length: int64(f.n), Want: f.want, Got: f.got, Reason: f.reason, class: f.class}
}

// Blocks is the size of a chunk in blocks.
func (in *Inspector) Blocks() int { return in.geometry.blocks }

// Offset is where a block lies in its slot file.
func (in *Inspector) Offset(block int) int64 { return in.geometry.dataOffset(block) }

// MovedFrom says whether the slot has its chunk from another, which has not been freed yet: a crash
// came in between, and the next opening frees it.
func (s *SlotInfo) MovedFrom(other *SlotInfo) bool {
	return s.from.version != 0 && s.from == origin{other.version, other.Slot}
}

// Written says whether a block has data, and the crc on record for it. The slot is not damaged.
func (s *SlotInfo) Written(block int) (written bool, crc uint32) {
	if s.table == nil || !s.table.has(block) {
		return false, zeroBlockCRC
	}
	return true, s.table.crcs[block]
}

// ReadBlocks reads blocks as they lie in the file, written or not.
func (in *Inspector) ReadBlocks(s *SlotInfo, block, count int) ([]byte, error) {
	file, err := in.cfg.Disk.Open(s.File)
	if err != nil {
		return nil, fmt.Errorf("chunkfile: open slot: %w", err)
	}
	defer file.Close()
	b := alignedBytes(count * BlockSize)
	if _, err := file.ReadAt(b, in.geometry.dataOffset(block)); err != nil {
		return nil, fmt.Errorf("chunkfile: read blocks: %w", err)
	}
	return b, nil
}

// Verify reads every written block of a slot's chunk and calls bad for each that does not fit
// its crc. It returns how many blocks it looked at.
func (in *Inspector) Verify(s *SlotInfo, bad func(BadBlock)) (blocks int, err error) {
	if s.table == nil || s.table.written == 0 {
		return 0, nil
	}
	file, err := in.cfg.Disk.Open(s.File)
	if err != nil {
		return 0, fmt.Errorf("chunkfile: open slot: %w", err)
	}
	defer file.Close()
	buf := alignedBytes(min(verifyBlocks, in.geometry.blocks) * BlockSize)
	for b := 0; b < in.geometry.blocks; {
		n := 0
		for b+n < in.geometry.blocks && n*BlockSize < len(buf) && s.table.has(b+n) {
			n++
		}
		if n > 0 {
			in.verifyRun(file, s, b, buf[:n*BlockSize], bad)
		}
		blocks, b = blocks+n, b+max(n, 1)
	}
	return blocks, nil
}

// verifyRun reads some blocks, and one by one when the device cannot read them together.
func (in *Inspector) verifyRun(file disk.File, s *SlotInfo, block int, buf []byte,
	bad func(BadBlock)) {
	off := in.geometry.dataOffset(block)
	_, err := file.ReadAt(buf, off)
	for ; len(buf) > 0; block, off, buf = block+1, off+BlockSize, buf[BlockSize:] {
		one := buf[:BlockSize]
		if err != nil {
			if _, err := file.ReadAt(one, off); err != nil {
				bad(BadBlock{Block: block, Offset: off, Err: err})
				continue
			}
		}
		want, got := s.table.crcs[block], crc32.Checksum(one, castagnoli)
		if want != got {
			bad(BadBlock{Block: block, Offset: off, Want: want, Got: got})
		}
	}
}
