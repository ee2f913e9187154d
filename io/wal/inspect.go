package wal

import (
	"cmp"
	"fmt"
	"hash/crc32"
	"path"
	"slices"
)

// Inspection is what the log of a store is, told without changing it.
type Inspection struct {
	Recovery
	// IdentityErr is why log.id tells nothing; Epoch is what it tells.
	IdentityErr error
	Epoch       uint64
	SegmentSize int64
	Files       []SegmentInfo
	// Tail is where the log begins, Head where it ends; everything below Watermark was
	// durable.
	Tail, Head, Watermark LSN
}

// SegmentInfo is one segment file.
type SegmentInfo struct {
	File   string
	Number int
	Size   int64
	// Use is live, superseded (its records are not needed any more), cut off (behind the end
	// of the log), blank, or unreadable.
	Use string
	// Known says how: by header, by its first frame, by a later frame; empty when it is not.
	Known      string
	Store      [16]byte
	Seq, Epoch uint64
	// PrevEnd, Tail and Watermark as written when the segment was begun.
	PrevEnd, Tail, Watermark LSN
	// HeaderErr is why its first block is no header; nil when it is one.
	HeaderErr error
	// End is the offset in the file where the records end. Live segments only.
	End int64
}

// FrameInfo is one position of the log: a frame, or what there is in place of one.
type FrameInfo struct {
	File    string
	Offset  int64
	At      LSN
	Verdict string // as recovery's decision table names it, or superseded
	// Intact: there is a descriptor, and what follows is what it says.
	Intact                   bool
	Bytes                    int64
	Seq, Epoch               uint64
	Watermark, Tail, PrevEnd LSN
	Records                  []RecordInfo
}

// RecordInfo is a record as it stands in the log. Meta and Payload are valid during the visit
// only.
type RecordInfo struct {
	Record
	Bad []BadBlock
}

// BadBlock is a block of payload that does not fit its crc.
type BadBlock struct {
	Block     int // of the record
	At        LSN
	Want, Got uint32
}

// Look says what Inspect shows.
type Look struct {
	// Frame gets every position that recovery looks at; nil: nobody asks. Its argument is
	// valid during the call only.
	Frame func(*FrameInfo) error
	// Replay gets what Open would replay, each record after its frame; nil: nobody asks.
	Replay func(*Record) error
	// Superseded shows the frames of segments that are not part of the log any more, too.
	Superseded bool
}

const (
	useLive       = "live"
	useSuperseded = "superseded"
	useCut        = "cut off"
	useBlank      = "blank"
	useUnreadable = "unreadable"
)

// Inspect reads the log as Open does, with the same code and the same verdicts, and changes
// nothing: no segment is synced, log.id keeps its epoch. A segment size of 0 in cfg is taken
// from log.id, or else from the files. Errors as for Open.
func Inspect(cfg Config, look Look) (*Inspection, error) {
	asked := cfg.SegmentSize
	if err := cfg.check(); err != nil {
		return nil, err
	}
	r := newRecovery(cfg, look.Replay)
	defer r.close()
	in := new(Inspection)
	id, err := r.identify(in, asked)
	if err != nil {
		return nil, err
	}
	if look.Frame != nil {
		r.observe = func(s *slot, off int64, e evidence, h *frameHeader, desc []byte) error {
			return look.Frame(r.frameInfo(s, off, e, h, desc))
		}
	}
	if err := r.survey(id); err != nil {
		return nil, err
	}
	if err := r.walk(); err != nil {
		return nil, err
	}
	in.Recovery, in.SegmentSize = *r.out, r.size
	in.Tail, in.Head, in.Watermark = r.tail, r.head, r.watermark
	for _, s := range r.slots {
		in.Files = append(in.Files, r.segmentInfo(s))
	}
	if look.Superseded && look.Frame != nil {
		return in, r.visitSuperseded(look.Frame)
	}
	return in, nil
}

// identify reads log.id and settles the segment size. The identity is nil when log.id is lost.
func (r *recovery) identify(in *Inspection, asked int64) (*identity, error) {
	b, err := r.disk.ReadFile(path.Join(r.dir, identityName))
	id := new(identity)
	if err == nil {
		err = id.parse(b)
	}
	if onlyVersion(err) != nil {
		return nil, err
	}
	in.IdentityErr = err
	if err != nil {
		id = nil
	} else if in.Epoch = id.epoch; id.store != r.store {
		return nil, fmt.Errorf("%w: %s is of store %x, this is %x: put the right disk back, or "+
			"move the directory away", ErrForeign, r.dir, id.store, r.store)
	}
	if asked == 0 && id != nil {
		asked = id.size
	}
	if asked == 0 {
		if asked, err = r.commonSize(); err != nil {
			return nil, err
		}
	}
	r.size = cmp.Or(asked, r.size)
	return id, checkSegmentSize(r.size)
}

// commonSize is the size of the first segment file: all have one.
func (r *recovery) commonSize() (int64, error) {
	names, err := r.disk.List(r.dir)
	if err != nil {
		return 0, fmt.Errorf("wal: list %s: %w", r.dir, err)
	}
	for _, base := range names {
		if _, ok := slotNumber(base); !ok {
			continue
		}
		f, err := r.disk.Open(path.Join(r.dir, base))
		if err != nil {
			return 0, fmt.Errorf("wal: open %s: %w", base, err)
		}
		return f.Size(), f.Close()
	}
	return 0, nil
}

func (r *recovery) segmentInfo(s *slot) SegmentInfo {
	number, _ := slotNumber(path.Base(s.name))
	in := SegmentInfo{File: s.name, Number: number, Size: s.file.Size(), Use: r.use(s)}
	var h segmentHeader
	r.win.reset(s.file, r.size, BlockSize)
	in.HeaderErr = h.parse(r.win.bytes(0, BlockSize))
	if !s.known() {
		return in
	}
	in.Known = [...]string{originHeader: "header", originFrame: "first frame",
		originScan: "later frame"}[s.origin]
	in.Store, in.Seq, in.Epoch = s.id.store, s.id.seq, s.id.epoch
	in.PrevEnd, in.Tail, in.Watermark = s.id.prevEnd, s.id.tail, s.id.watermark
	in.End = r.ends[s]
	return in
}

// use says what a segment file is to the log as it was recovered.
func (r *recovery) use(s *slot) string {
	_, walked := r.ends[s]
	switch {
	case s.origin == originBlank:
		return useBlank
	case s.origin == originUnreadable:
		return useUnreadable
	case walked:
		return useLive
	case slices.Contains(r.live, s):
		return useCut
	}
	return useSuperseded
}

// frameInfo shows what a verdict was given on.
func (r *recovery) frameInfo(s *slot, off int64, e evidence, h *frameHeader,
	desc []byte) *FrameInfo {
	f := &FrameInfo{File: s.name, Offset: off, At: r.lsn(s.id.seq, off), Intact: e.descriptor}
	for i := range cases {
		if cases[i].match(e) {
			f.Verdict = cases[i].name
		}
	}
	if e.descriptor {
		r.showFrame(f, s, h, desc)
	}
	return f
}

// showFrame fills in what an intact descriptor says and how its payload is.
func (r *recovery) showFrame(f *FrameInfo, s *slot, h *frameHeader, desc []byte) {
	f.Bytes, f.Seq, f.Epoch = h.bytes(), h.seq, h.epoch
	f.Watermark, f.Tail, f.PrevEnd = h.watermark, h.tail, h.prevEnd
	payload := r.win.bytes(f.Offset, int(h.bytes()))[len(desc):]
	body, pos := desc[frameHeaderSize:], f.Offset+int64(len(desc))
	for range h.records {
		var rec RecordInfo
		body = body[getRecord(body, &rec.Record):]
		rec.At = h.at
		if n := len(rec.CRCs) * BlockSize; n > 0 {
			rec.At = r.lsn(s.id.seq, pos)
			rec.Payload, payload = payload[:n:n], payload[n:]
			rec.Bad = blocksThatFail(rec.Payload, rec.CRCs, rec.At)
			pos += int64(n)
		}
		f.Records = append(f.Records, rec)
	}
}

func blocksThatFail(payload []byte, crcs []uint32, at LSN) (bad []BadBlock) {
	for i, want := range crcs {
		got := crc32.Checksum(payload[i*BlockSize:][:BlockSize], castagnoli)
		if got != want {
			bad = append(bad, BadBlock{Block: i, At: at + LSN(i*BlockSize), Want: want, Got: got})
		}
	}
	return bad
}

// visitSuperseded shows the frames of an earlier use of the log's files.
func (r *recovery) visitSuperseded(visit func(*FrameInfo) error) error {
	for _, s := range r.slots {
		if use := r.use(s); use != useSuperseded && use != useCut {
			continue
		}
		r.win.reset(s.file, r.size, scanWindow)
		for off := int64(BlockSize); off < r.win.limit; {
			var h frameHeader
			desc, err := r.win.frame(r.layout, off, &h)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			if desc == nil || h.stamp != s.id.stamp {
				break
			}
			f := &FrameInfo{File: s.name, Offset: off, At: h.at, Intact: true,
				Verdict: r.use(s)}
			desc = r.win.bytes(off, int(h.bytes()))[:len(desc)]
			r.showFrame(f, s, &h, desc)
			if err := visit(f); err != nil {
				return err
			}
			off += h.bytes()
		}
	}
	return nil
}
