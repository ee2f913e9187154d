package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/chunkfile"
	"github.com/ashlar-storage/ashlar/io/disk"
	"github.com/ashlar-storage/ashlar/io/wal"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// ErrNoChunk: the store has no slot or chunk of that name.
var ErrNoChunk = errors.New("store: no such chunk here")

// LogQuery says which part of a log to show. Zero values ask for everything.
type LogQuery struct {
	Segment int // number of one segment file, when OneFile; else the log, tail to end
	OneFile bool
	Group   uint64 // one copyset; 0: all
	From    wal.LSN
	Limit   int // records at most; 0: all
	Payload bool
}

// LogDump is a log as it is shown.
type LogDump struct {
	*wal.Inspection
	Frames []DumpFrame
	// More: records were left out because of the limit.
	More bool
}

// DumpFrame is one position of the log.
type DumpFrame struct {
	wal.FrameInfo // without Records
	Records       []DumpRecord
}

// DumpRecord is a record of the log with what it means.
type DumpRecord struct {
	At            wal.LSN
	Kind          string
	Group         uint64
	Term, Index   uint64
	MetaBytes     int
	PayloadBlocks int
	Bad           []wal.BadBlock
	Command       *copyset.Command // of an entry that has one
	Detail        string
	Payload       []byte // when asked for
}

// DumpLog reads the log of a store and shows part of it. The disk need not be writable.
func DumpLog(ctx context.Context, d disk.Disk, path string, q LogQuery) (*LogDump, error) {
	meta, err := readIdentity(d, path)
	if err != nil {
		return nil, err
	}
	out, records := new(LogDump), 0
	frame := func(f *wal.FrameInfo) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !q.wants(f) || f.Verdict == "end" || f.Verdict == "clean end" {
			return nil
		}
		shown := DumpFrame{FrameInfo: *f}
		shown.FrameInfo.Records = nil
		for i := range f.Records {
			if q.Group != 0 && f.Records[i].Group != q.Group {
				continue
			}
			if out.More = q.Limit > 0 && records >= q.Limit; out.More {
				break
			}
			records++
			shown.Records = append(shown.Records, dumpRecord(&f.Records[i], q.Payload))
		}
		if len(shown.Records) > 0 || !f.Intact && !out.More {
			out.Frames = append(out.Frames, shown)
		}
		return nil
	}
	out.Inspection, err = wal.Inspect(wal.Config{Disk: d, Dir: logDir, StoreID: meta.UUID,
		Logger: slog.New(slog.DiscardHandler)},
		wal.Look{Frame: frame, Superseded: q.OneFile})
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", path, err)
	}
	return out, nil
}

// wants says whether a position is asked for.
func (q *LogQuery) wants(f *wal.FrameInfo) bool {
	return f.At+wal.LSN(f.Bytes) >= q.From &&
		(!q.OneFile || f.File == fmt.Sprintf("%s/%08d.seg", logDir, q.Segment))
}

func dumpRecord(r *wal.RecordInfo, payload bool) DumpRecord {
	d := DumpRecord{At: r.At, Group: r.Group, Term: r.Term, Index: r.Index,
		MetaBytes: len(r.Meta), PayloadBlocks: len(r.CRCs), Bad: r.Bad,
		Kind: copyset.KindName(r.Kind)}
	if d.Kind == "" {
		d.Kind = fmt.Sprintf("kind-%d", r.Kind)
	}
	if payload {
		d.Payload = slices.Clone(r.Payload)
	}
	switch r.Kind {
	case copyset.RecordEntry:
		d.entry(r.Meta)
	case copyset.RecordPlaced:
		slot, command, err := copyset.PlacedCommand(r.Meta)
		if err != nil {
			d.Detail = "unreadable: " + err.Error()
			break
		}
		d.entry(command)
		d.Detail += fmt.Sprintf(", payload in slot %d", slot)
	case copyset.RecordHard:
		d.Detail = "vote unreadable"
		if len(r.Meta) == 8 {
			vote := binary.LittleEndian.Uint64(r.Meta)
			d.Detail = fmt.Sprintf("vote %d, commit %d", vote, r.Index)
		}
	case copyset.RecordState:
		d.Detail = stateText(r.Payload)
	case copyset.RecordConf:
		var cc raftpb.ConfChangeV2
		if err := cc.Unmarshal(r.Meta); err != nil {
			d.Detail = "unreadable: " + err.Error()
		} else {
			d.Detail = "change of membership: " + cc.String()
		}
	}
	return d
}

// entry says what a command does.
func (d *DumpRecord) entry(meta []byte) {
	if len(meta) == 0 {
		d.Detail = "a leader begins its term"
		return
	}
	c := new(copyset.Command)
	if err := c.Decode(meta); err != nil {
		d.Detail = "unreadable: " + err.Error()
		return
	}
	d.Command = c
	if !c.OnBlocks() {
		d.Detail = fmt.Sprintf("%v %d, session %d op %d epoch %d", c.Kind, c.Volume, c.Session,
			c.OpID, c.Epoch)
		return
	}
	d.Detail = fmt.Sprintf("%v %d/%d blocks %d+%d, session %d op %d", c.Kind, c.Volume, c.Chunk,
		c.First, c.Count, c.Session, c.OpID)
}

func stateText(payload []byte) string {
	var st copyset.State
	if err := st.Decode(payload); err != nil {
		return "unreadable: " + err.Error()
	}
	var peers []string
	for _, p := range st.Peers {
		peers = append(peers, fmt.Sprintf("%d@%d/%d", p.ReplicaID, p.NodeID, p.StoreID))
	}
	return fmt.Sprintf("checkpoint of replica %d, epoch %d: applied %d in term %d, commit %d, "+
		"voters %v, learners %v, replica@node/store %s, %d bytes of exactly-once table", st.Replica,
		st.Epoch, st.Applied, st.AppliedTerm, st.Hard.Commit, st.Conf.Voters, st.Conf.Learners,
		strings.Join(peers, " "), len(st.Sessions))
}

// ChunkQuery says which slot to show, and which of its blocks.
type ChunkQuery struct {
	ID       chunkfile.ID
	Slot     uint64
	BySlot   bool
	From, To int // blocks, both included; To -1: none
	Data     bool
}

// ChunkDump is a slot file as it is shown.
type ChunkDump struct {
	*chunkfile.SlotInfo
	Written []BlockRange
	Blocks  []DumpBlock
}

// BlockRange is blocks that have data, both ends included.
type BlockRange struct{ From, To int }

// DumpBlock is one block: what is on record for it and what is there.
type DumpBlock struct {
	Block     int
	Offset    int64
	Written   bool
	Want, Got uint32
	Data      []byte // when asked for
}

// DumpChunk shows a slot file. It fails with ErrNoChunk.
func DumpChunk(d disk.Disk, path string, q ChunkQuery) (*ChunkDump, error) {
	meta, err := readIdentity(d, path)
	if err != nil {
		return nil, err
	}
	in, err := chunkfile.NewInspector(chunkfile.Config{Disk: d, Dir: chunkDir, Name: path,
		StoreID: meta.UUID, ChunkSize: meta.ChunkSize})
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", path, err)
	}
	s, err := findSlot(in, path, q)
	if err != nil {
		return nil, err
	}
	out := &ChunkDump{SlotInfo: s}
	for b := range in.Blocks() {
		if written, _ := s.Written(b); !written {
			continue
		}
		if n := len(out.Written); n > 0 && out.Written[n-1].To == b-1 {
			out.Written[n-1].To = b
		} else {
			out.Written = append(out.Written, BlockRange{b, b})
		}
	}
	for b := q.From; b <= min(q.To, in.Blocks()-1); b++ {
		data, err := in.ReadBlocks(s, b, 1)
		if err != nil {
			return nil, fmt.Errorf("store %s: block %d: %w", path, b, err)
		}
		block := DumpBlock{Block: b, Offset: in.Offset(b), Got: wire.CRC32C(data)}
		block.Written, block.Want = s.Written(b)
		if q.Data {
			block.Data = data
		}
		out.Blocks = append(out.Blocks, block)
	}
	return out, nil
}

// findSlot finds the slot that is asked for.
func findSlot(in *chunkfile.Inspector, path string, q ChunkQuery) (*chunkfile.SlotInfo, error) {
	numbers, _, err := in.Slots()
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", path, err)
	}
	if q.BySlot {
		if !slices.Contains(numbers, q.Slot) {
			return nil, fmt.Errorf("%w: %s has %d slot files, none with number %d", ErrNoChunk,
				path, len(numbers), q.Slot)
		}
		return in.Slot(q.Slot), nil
	}
	for _, n := range numbers {
		if s := in.Slot(n); s.Used && s.ID == q.ID {
			return s, nil
		}
	}
	return nil, fmt.Errorf("%w: %s has no chunk %v: name it as copyset/volume/index, as `ashlar "+
		"store dump-wal` shows them", ErrNoChunk, path, q.ID)
}
