package view

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/ashlar-storage/ashlar/dataplane/store"
	"github.com/ashlar-storage/ashlar/io/chunkfile"
	"github.com/ashlar-storage/ashlar/io/wal"
)

// LogDump is the log of a store, or part of it.
type LogDump struct {
	Path         string     `json:"path"`
	Epoch        uint64     `json:"epoch"`
	SegmentBytes uint64     `json:"segment_bytes"`
	Tail         uint64     `json:"tail"`
	Head         uint64     `json:"head"`
	Watermark    uint64     `json:"watermark"`
	Torn         bool       `json:"torn"`
	Files        []LogFile  `json:"segments"`
	Frames       []LogFrame `json:"frames"`
	More         bool       `json:"more"` // the limit left records out
}

// LogFile is a segment file.
type LogFile struct {
	File      string `json:"file"`
	Use       string `json:"use"`
	Known     string `json:"known_by"`
	Store     string `json:"store"`
	Sequence  uint64 `json:"sequence"`
	Epoch     uint64 `json:"epoch"`
	PrevEnd   uint64 `json:"previous_end"`
	Tail      uint64 `json:"tail"`
	Watermark uint64 `json:"watermark"`
	End       int64  `json:"end"`
	Problem   string `json:"problem"`
}

// LogFrame is one position of the log.
type LogFrame struct {
	Position  uint64      `json:"position"`
	File      string      `json:"file"`
	Offset    int64       `json:"offset"`
	Bytes     int64       `json:"bytes"`
	Verdict   string      `json:"verdict"`
	Watermark uint64      `json:"watermark"`
	Tail      uint64      `json:"tail"`
	Records   []LogRecord `json:"records"`
}

// LogRecord is one record.
type LogRecord struct {
	Position      uint64   `json:"position"`
	Kind          string   `json:"kind"`
	Copyset       uint64   `json:"copyset"`
	Term          uint64   `json:"term"`
	Index         uint64   `json:"index"`
	MetaBytes     int      `json:"meta_bytes"`
	PayloadBlocks int      `json:"payload_blocks"`
	CRC           string   `json:"crc"` // ok, none, or which blocks fail
	Command       *Command `json:"command,omitempty"`
	Detail        string   `json:"detail"`
	Payload       string   `json:"payload,omitempty"`
}

// Command is what an entry does.
type Command struct {
	Op         string `json:"op"`
	Volume     uint64 `json:"volume"`
	Chunk      uint64 `json:"chunk"`
	FirstBlock uint32 `json:"first_block"`
	Count      uint32 `json:"count"`
	Session    uint64 `json:"session"`
	Epoch      uint64 `json:"epoch"`
	OpID       uint64 `json:"op_id"`
	LowWater   uint64 `json:"low_water"`
}

// FromLog is the document of a log.
func FromLog(path string, d *store.LogDump) LogDump {
	out := LogDump{Path: path, Epoch: d.Epoch, SegmentBytes: uint64(d.SegmentSize),
		Tail: uint64(d.Tail), Head: uint64(d.Head), Watermark: uint64(d.Watermark), Torn: d.Torn,
		More: d.More, Files: []LogFile{}, Frames: []LogFrame{}}
	for _, f := range d.Files {
		out.Files = append(out.Files, logFile(&f))
	}
	for i := range d.Frames {
		f := &d.Frames[i]
		frame := LogFrame{Position: uint64(f.At), File: f.File, Offset: f.Offset, Bytes: f.Bytes,
			Verdict: f.Verdict, Watermark: uint64(f.Watermark), Tail: uint64(f.FrameInfo.Tail),
			Records: []LogRecord{}}
		for k := range f.Records {
			frame.Records = append(frame.Records, logRecord(&f.Records[k]))
		}
		out.Frames = append(out.Frames, frame)
	}
	return out
}

func logFile(f *wal.SegmentInfo) LogFile {
	v := LogFile{File: f.File, Use: f.Use, Known: f.Known, Sequence: f.Seq, Epoch: f.Epoch,
		PrevEnd: uint64(f.PrevEnd), Tail: uint64(f.Tail), Watermark: uint64(f.Watermark),
		End: f.End}
	if f.Known != "" {
		v.Store = uuid.UUID(f.Store).String()
	}
	if f.HeaderErr != nil && f.Use != "blank" {
		v.Problem = oneLine(f.HeaderErr.Error())
	}
	return v
}

func logRecord(r *store.DumpRecord) LogRecord {
	v := LogRecord{Position: uint64(r.At), Kind: r.Kind, Copyset: r.Group, Term: r.Term,
		Index: r.Index, MetaBytes: r.MetaBytes, PayloadBlocks: r.PayloadBlocks, CRC: "none",
		Detail: oneLine(r.Detail), Payload: hex.EncodeToString(r.Payload)}
	if r.PayloadBlocks > 0 {
		v.CRC = "ok"
	}
	var bad []string
	for _, b := range r.Bad {
		bad = append(bad, fmt.Sprintf("block %d: %08x, want %08x", b.Block, b.Got, b.Want))
	}
	if len(bad) > 0 {
		v.CRC = strings.Join(bad, "; ")
	}
	if c := r.Command; c != nil {
		v.Command = &Command{Op: c.Kind.String(), Volume: c.Volume, Chunk: c.Chunk,
			FirstBlock: c.First, Count: c.Count, Session: c.Session, Epoch: c.Epoch, OpID: c.OpID,
			LowWater: c.LowWater}
	}
	return v
}

// Tables implements Tabler.
func (d LogDump) Tables() []Table {
	head := Table{Rows: [][]string{{"store", d.Path}, {"epoch", num(d.Epoch)},
		{"log", fmt.Sprintf("%d to %d, durable below %d at least", d.Tail, d.Head, d.Watermark)},
		{"ends", map[bool]string{true: "in a write that a crash interrupted",
			false: "cleanly"}[d.Torn]}}}
	files := Table{Heading: []string{"SEGMENT", "USE", "KNOWN BY", "SEQUENCE", "EPOCH",
		"PREVIOUS END", "TAIL", "WATERMARK", "END", "PROBLEM"}}
	for _, f := range d.Files {
		files.Rows = append(files.Rows, []string{f.File, f.Use, f.Known, num(f.Sequence),
			num(f.Epoch), num(f.PrevEnd), num(f.Tail), num(f.Watermark), fmt.Sprint(f.End),
			f.Problem})
	}
	frames := Table{Heading: []string{"POSITION", "AT", "VERDICT", "RECORD", "COPYSET", "TERM",
		"INDEX", "BLOCKS", "CRC", "WHAT"}}
	for i := range d.Frames {
		frames.Rows = append(frames.Rows, d.Frames[i].rows()...)
	}
	tables := []Table{head, files, frames}
	for i := range d.Frames {
		for _, r := range d.Frames[i].Records {
			if data, err := hex.DecodeString(r.Payload); err == nil && len(data) > 0 {
				tables = append(tables, Table{Heading: []string{fmt.Sprintf("payload at %d",
					r.Position)}, Rows: hexRows(data)})
			}
		}
	}
	if d.More {
		tables = append(tables, Table{Rows: [][]string{{"more records follow: raise --limit, or " +
			"begin later with --from"}}})
	}
	return tables
}

func (f *LogFrame) rows() (rows [][]string) {
	at := fmt.Sprintf("%s:%d", f.File, f.Offset)
	if len(f.Records) == 0 {
		return [][]string{{num(f.Position), at, f.Verdict, "", "", "", "", "", "", ""}}
	}
	for i, r := range f.Records {
		row := []string{num(f.Position), at, f.Verdict, r.Kind, num(r.Copyset), num(r.Term),
			num(r.Index), fmt.Sprint(r.PayloadBlocks), r.CRC, r.Detail}
		if i > 0 {
			row[0], row[1], row[2] = "", "", ""
		}
		rows = append(rows, row)
	}
	return rows
}

// ChunkDump is a slot file.
type ChunkDump struct {
	Slot    uint64       `json:"slot"`
	File    string       `json:"file"`
	Chunk   string       `json:"chunk"` // copyset/volume/index; empty when free or unknown
	Verdict string       `json:"verdict"`
	Problem string       `json:"problem"`
	Halves  []ChunkHalf  `json:"halves"`
	Written []string     `json:"written"` // ranges of blocks
	Blocks  []ChunkBlock `json:"blocks"`
}

// ChunkHalf is one copy of the metadata.
type ChunkHalf struct {
	Half    string `json:"half"`
	Offset  int64  `json:"offset"`
	State   string `json:"state"`
	Version uint64 `json:"version"`
	Applied uint64 `json:"applied_index"`
	Chunk   string `json:"chunk"`
	Written int    `json:"written_blocks"`
	Next    string `json:"next"`
	Role    string `json:"role"` // newest, superseded, or empty
	Problem string `json:"problem"`
}

// ChunkBlock is one block.
type ChunkBlock struct {
	Block   int    `json:"block"`
	Offset  int64  `json:"offset"`
	Written bool   `json:"written"`
	Want    string `json:"crc_expected"`
	Got     string `json:"crc_got"`
	Fits    bool   `json:"fits"`
	Data    string `json:"data,omitempty"`
}

// FromChunk is the document of a slot file.
func FromChunk(d *store.ChunkDump) ChunkDump {
	out := ChunkDump{Slot: d.Slot, File: d.File, Verdict: d.Rule, Halves: []ChunkHalf{},
		Written: []string{}, Blocks: []ChunkBlock{}}
	if d.Used {
		out.Chunk = d.ID.String()
	}
	if d.Err != nil {
		out.Problem = oneLine(d.Err.Error())
	}
	for i := range d.Halves {
		out.Halves = append(out.Halves, chunkHalf(i, d))
	}
	for _, r := range d.Written {
		out.Written = append(out.Written, fmt.Sprintf("%d-%d", r.From, r.To))
	}
	for _, b := range d.Blocks {
		v := ChunkBlock{Block: b.Block, Offset: b.Offset, Written: b.Written,
			Got: fmt.Sprintf("%08x", b.Got), Fits: !b.Written || b.Want == b.Got,
			Data: hex.EncodeToString(b.Data)}
		if b.Written {
			v.Want = fmt.Sprintf("%08x", b.Want)
		}
		out.Blocks = append(out.Blocks, v)
	}
	return out
}

func chunkHalf(i int, d *store.ChunkDump) ChunkHalf {
	h := &d.Halves[i]
	v := ChunkHalf{Half: string(rune('A' + i)), Offset: h.Offset, State: h.State,
		Version: h.Version, Applied: h.Applied, Written: h.Written, Next: next(h)}
	if h.State == "used" {
		v.Chunk = h.ID.String()
	}
	switch {
	case h.Err != nil:
		v.Problem = oneLine(h.Err.Error())
	case d.Newest == i:
		v.Role = "newest"
	case d.Newest >= 0:
		v.Role = "superseded"
	}
	return v
}

// next says what a sealed half says of its successor.
func next(h *chunkfile.HalfInfo) string {
	switch {
	case h.NextState == "":
		return ""
	case h.NextState == "used":
		return fmt.Sprintf("version %d of %v", h.NextVersion, h.NextID)
	}
	return fmt.Sprintf("version %d, free", h.NextVersion)
}

// Tables implements Tabler.
func (d ChunkDump) Tables() []Table {
	head := Table{Rows: [][]string{{"slot", num(d.Slot)}, {"file", d.File}, {"chunk", d.Chunk},
		{"verdict", d.Verdict}, {"written", strings.Join(d.Written, " ")}}}
	if d.Problem != "" {
		head.Rows = append(head.Rows, []string{"problem", d.Problem})
	}
	halves := Table{Heading: []string{"HALF", "OFFSET", "STATE", "VERSION", "APPLIED", "CHUNK",
		"WRITTEN", "NEXT", "ROLE", "PROBLEM"}}
	for _, h := range d.Halves {
		halves.Rows = append(halves.Rows, []string{h.Half, fmt.Sprint(h.Offset), h.State,
			num(h.Version), num(h.Applied), h.Chunk, fmt.Sprint(h.Written), h.Next, h.Role,
			h.Problem})
	}
	tables := []Table{head, halves}
	if len(d.Blocks) == 0 {
		return tables
	}
	blocks := Table{Heading: []string{"BLOCK", "OFFSET", "WRITTEN", "CRC EXPECTED", "CRC GOT",
		"FITS"}}
	var dumps []Table
	for _, b := range d.Blocks {
		blocks.Rows = append(blocks.Rows, []string{fmt.Sprint(b.Block), fmt.Sprint(b.Offset),
			yes(b.Written), b.Want, b.Got, map[bool]string{true: "yes", false: "NO"}[b.Fits]})
		if data, err := hex.DecodeString(b.Data); err == nil && len(data) > 0 {
			dumps = append(dumps, Table{Heading: []string{fmt.Sprintf("block %d", b.Block)},
				Rows: hexRows(data)})
		}
	}
	return append(append(tables, blocks), dumps...)
}

// hexRows is bytes as lines of 16, equal lines in between as one star.
func hexRows(data []byte) (rows [][]string) {
	last := ""
	for at := 0; at < len(data); at += 16 {
		line := string(data[at:min(at+16, len(data))])
		if line == last && at+16 < len(data) {
			if rows[len(rows)-1][0] != "*" {
				rows = append(rows, []string{"*"})
			}
			continue
		}
		last = line
		text := strings.Map(func(r rune) rune {
			if r < ' ' || r > '~' {
				return '.'
			}
			return r
		}, latin(line))
		rows = append(rows, []string{fmt.Sprintf("%06x  % x  |%s|", at, line, text)})
	}
	return rows
}

// latin makes each byte a rune of its own.
func latin(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(rune(s[i]))
	}
	return b.String()
}

// oneLine keeps a cell of a table on one line, whatever it quotes.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
