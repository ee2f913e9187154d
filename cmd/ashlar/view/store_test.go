package view

import (
	"errors"

	raftlog "github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/dataplane/store"
	"github.com/ashlar-storage/ashlar/io/chunkfile"
	"github.com/ashlar-storage/ashlar/io/wal"
)

func checkReport() *store.CheckReport {
	return &store.CheckReport{Path: "/srv/store0", UUID: "u-1", ClusterID: "c-1", StoreID: 3,
		ChunkSize: 16 << 20, Omitted: 2, Areas: []store.Area{
			{Name: store.AreaLog, Objects: 260, Unit: "records", Bytes: 102 << 20, Notes: 1},
			{Name: store.AreaData, Objects: 9766, Unit: "blocks", Bytes: 9766 << 12, Damage: 3}},
		Findings: []store.Finding{
			{Severity: store.Damage, Area: store.AreaData, File: "chunks/slot-0000000004",
				Offset: 81920, Length: 4096, Expected: "crc32c 0badcafe", Got: "crc32c 00000001",
				Means: "block 8 of chunk 1/1/1 does not fit its checksum", Do: "start the node"},
			{Severity: store.Note, Area: store.AreaLog, File: "log", Got: "position 99",
				Means: "the log ends in a write that a crash interrupted", Do: "nothing"}}}
}

func logDump() *store.LogDump {
	in := &wal.Inspection{Epoch: 4, SegmentSize: 64 << 20, Tail: 4096, Head: 90112,
		Watermark: 86016, Files: []wal.SegmentInfo{
			{File: "log/00000000.seg", Use: "live", Known: "header", Store: [16]byte{1, 2}, Seq: 3,
				Epoch: 4, PrevEnd: 100, Tail: 4096, Watermark: 100, End: 90112},
			{File: "log/00000001.seg", Number: 1, Use: "blank",
				HeaderErr: errors.New("magic 0x0")},
			{File: "log/00000002.seg", Number: 2, Use: "unreadable",
				HeaderErr: errors.New("crc 0x1,\nwant 0x2")}}}
	in.Torn = true
	write := store.DumpRecord{At: 8192, Kind: "entry", Group: 1, Term: 2, Index: 7, MetaBytes: 80,
		PayloadBlocks: 2, Bad: []wal.BadBlock{{Block: 1, At: 12288, Want: 0xabc, Got: 0xdef}},
		Command: &raftlog.Command{Kind: raftlog.CmdWrite, Session: 5, Epoch: 6, OpID: 8,
			LowWater: 7, Volume: 1, Chunk: 17, First: 3, Count: 2},
		Detail:  "write 1/17 blocks 3+2, session 5 op 8",
		Payload: []byte("sixteen bytes...\x00\x01")}
	hard := store.DumpRecord{At: 4096, Kind: "hard", Group: 1, Term: 2, Index: 6, MetaBytes: 8,
		Detail: "vote 21, commit 6"}
	return &store.LogDump{Inspection: in, More: true, Frames: []store.DumpFrame{
		{FrameInfo: wal.FrameInfo{File: "log/00000000.seg", Offset: 4096, At: 4096,
			Verdict: "lost records", Intact: true, Bytes: 12288, Watermark: 4096, Tail: 4096},
			Records: []store.DumpRecord{hard, write}},
		{FrameInfo: wal.FrameInfo{File: "log/00000000.seg", Offset: 16384, At: 16384,
			Verdict: "lost frame"}}}}
}

func chunkDump() *store.ChunkDump {
	id := chunkfile.ID{Group: 1, Volume: 2, Index: 3}
	return &store.ChunkDump{SlotInfo: &chunkfile.SlotInfo{Slot: 4, File: "chunks/slot-0000000004",
		Rule: "one half torn or lost, the other not superseded", Newest: 1, Used: true, ID: id,
		Halves: [2]chunkfile.HalfInfo{
			{State: "used", Version: 8, Applied: 30, ID: id, Written: 3, NextState: "used",
				NextVersion: 9, NextID: id, Err: errors.New("checksum of bitmap and table")},
			{Offset: 24576, State: "used", Version: 9, Applied: 44, ID: id, Written: 4}}},
		Written: []store.BlockRange{{From: 0, To: 2}, {From: 9, To: 9}},
		Blocks: []store.DumpBlock{
			{Block: 2, Offset: 57344, Written: true, Want: 1, Got: 2,
				Data: append(make([]byte, 64), "the end"...)},
			{Block: 3, Offset: 61440, Got: 0x98f94189}}}
}
