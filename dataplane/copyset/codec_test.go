package copyset

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares bytes with a file that says what the format has been so far.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	var b strings.Builder
	for i := 0; i < len(got); i += 16 {
		fmt.Fprintf(&b, "%04x % x\n", i, got[i:min(i+16, len(got))])
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("%s changed:\n%swant\n%s", name, b.String(), want)
	}
}

// readGolden reads a golden file back into bytes.
func readGolden(t testing.TB, name string) (b []byte) {
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		_, digits, _ := strings.Cut(strings.TrimSpace(line), " ")
		part, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, part...)
	}
	return b
}

func sampleCommands() map[string]*Command {
	return map[string]*Command{
		"write": {Kind: CmdWrite, Session: 0x1122334455667788, Epoch: 2, OpID: 300, LowWater: 290,
			Volume: 4, Chunk: 5, First: 6, Count: 2, CRCs: []uint32{0xaabbccdd, 0x01020304}},
		"zero": {Kind: CmdZero, Session: 1, Epoch: 2, OpID: 3, LowWater: 3, Volume: 4, Chunk: 5,
			Count: 4096},
		"zero-edges": {Kind: CmdZero, Flags: flagHead | flagTail, Session: 1, Epoch: 2, OpID: 3,
			Volume: 4, Chunk: 5, First: 6, Count: 9, CRCs: []uint32{7, 8}},
		"delete": {Kind: CmdDeleteVolume, Volume: 4},
		"fence":  {Kind: CmdFence, Session: 7, Epoch: 3, Volume: 4},
		"erased": {Kind: CmdErased, Volume: 4, Chunk: 9},
	}
}

func sampleState() *State {
	t := newSessions()
	for _, c := range []Command{{Session: 9, Epoch: 3, OpID: 20, LowWater: 18, Volume: 1},
		{Session: 9, Epoch: 3, OpID: 22, LowWater: 18, Volume: 1},
		{Session: 4, Epoch: 1, OpID: 1, Volume: 2}} {
		t.record(&c)
	}
	return &State{Copyset: 1, Epoch: 2, Replica: 3, Applied: 400, AppliedTerm: 5,
		Hard:  raftpb.HardState{Term: 6, Vote: 2, Commit: 401},
		Conf:  raftpb.ConfState{Voters: []uint64{1, 2, 3}, Learners: []uint64{4}},
		Peers: []Peer{{1, 11, 21, "10.0.0.1:7000"}, {2, 12, 22, ""}}, Sessions: t.appendTo(nil)}
}

func sampleJoint() *State {
	s := sampleState()
	s.Conf = raftpb.ConfState{Voters: []uint64{1, 2, 5}, VotersOutgoing: []uint64{1, 2, 3},
		Learners: []uint64{4}, LearnersNext: []uint64{3}, AutoLeave: true}
	return s
}

func sampleErased(s *State) *State {
	s.Erased = []Volumes{{4, 4}, {6, 90}}
	return s
}

// samplePayload is n blocks with the checksums of each.
func samplePayload(n int) ([]byte, []uint32) {
	p := make([]byte, n*BlockSize)
	var crcs []uint32
	for i := range n {
		for k := range BlockSize {
			p[i*BlockSize+k] = byte(i + k)
		}
		crcs = append(crcs, wire.CRC32C(p[i*BlockSize:(i+1)*BlockSize]))
	}
	return p, crcs
}

// sampleMessages are messages with their payloads in one piece.
func sampleMessages() (map[string]*Message, map[string][]byte) {
	p, crcs := samplePayload(3)
	one := &Command{Kind: CmdWrite, Session: 1, OpID: 1, Volume: 1, Count: 1, CRCs: crcs[:1]}
	two := &Command{Kind: CmdWrite, Session: 1, OpID: 2, Volume: 1, First: 8, Count: 2,
		CRCs: crcs[1:]}
	app := &Message{Copyset: 1, Stamp: 123456789, Message: raftpb.Message{Type: raftpb.MsgApp,
		From: 2, To: 3, Term: 4, LogTerm: 3, Index: 99, Commit: 98, Entries: []raftpb.Entry{
			{Term: 4, Index: 100},
			{Term: 4, Index: 101, Data: one.AppendTo(nil)},
			{Term: 4, Index: 102, Type: raftpb.EntryConfChangeV2, Data: []byte{1, 2, 3}},
			{Term: 4, Index: 103, Data: two.AppendTo(nil)},
		}}}
	app.Payloads = []Payload{{}, {B: p[:BlockSize], Len: BlockSize}, {},
		{B: p[BlockSize:], Len: 2 * BlockSize}}
	messages := map[string]*Message{
		"append": app,
		"heartbeat": {Copyset: 1, Stamp: -1, Message: raftpb.Message{Type: raftpb.MsgHeartbeat,
			From: 2, To: 3, Term: 4, Commit: 98, Context: []byte("12345678")}},
		"reject": {Copyset: 1, Message: raftpb.Message{Type: raftpb.MsgAppResp, From: 2, To: 3,
			Term: 4, Index: 7, Reject: true, RejectHint: 6, LogTerm: 2}},
		"snapshot": {Copyset: 1, Message: raftpb.Message{Type: raftpb.MsgSnap, From: 2, To: 3,
			Term: 4, Context: []byte("abc"), Snapshot: &raftpb.Snapshot{Data: []byte("state"),
				Metadata: raftpb.SnapshotMetadata{Index: 9, Term: 4,
					ConfState: raftpb.ConfState{Voters: []uint64{1, 2}}}}}},
	}
	payloads := map[string][]byte{}
	for name, m := range messages {
		payloads[name] = bodyOf(m)
	}
	return messages, payloads
}

// bodyOf is the payload of a message's frame.
func bodyOf(m *Message) []byte {
	pieces, err := m.Body(nil)
	if err != nil {
		panic("copyset: " + err.Error())
	}
	return slices.Concat(pieces...)
}

func encodeMessage(t testing.TB, m *Message) []byte {
	b, err := m.AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// payloadBuf puts bytes into a pool's buffer and checks at the end that it came back.
func payloadBuf(t testing.TB, p []byte) *buf.Buf {
	if len(p) == 0 {
		return nil
	}
	pool, err := buf.NewPool(buf.Config{Bytes: 2 << 20})
	if err != nil {
		t.Fatal(err)
	}
	b, err := pool.Get(len(p))
	if err != nil {
		t.Fatal(err)
	}
	copy(b.Bytes(), p)
	t.Cleanup(func() {
		b.Release()
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func TestLogAndWireFormatsAreStable(t *testing.T) {
	for name, c := range sampleCommands() {
		golden(t, "command-"+name+".txt", c.AppendTo(nil))
	}
	golden(t, "state.txt", sampleState().AppendTo(nil))
	golden(t, "state-joint.txt", sampleJoint().AppendTo(nil))
	golden(t, "state-erased.txt", sampleErased(sampleState()).AppendTo(nil))
	golden(t, "state-joint-erased.txt", sampleErased(sampleJoint()).AppendTo(nil))
	messages, _ := sampleMessages()
	for name, m := range messages {
		golden(t, "message-"+name+".txt", encodeMessage(t, m))
	}
	for i, k := range []uint8{uint8(RecordEntry), uint8(RecordHard), uint8(RecordState),
		uint8(RecordConf)} {
		if int(k) != i+1 {
			t.Errorf("record kind %d is %d", i+1, k)
		}
	}
}

func TestCommandRoundTrip(t *testing.T) {
	for name, c := range sampleCommands() {
		b := c.AppendTo([]byte("kept"))
		got := Command{CRCs: make([]uint32, 0, 8)}
		if err := got.Decode(b[4:]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got.CRCs = append([]uint32(nil), got.CRCs...); !reflect.DeepEqual(&got, c) {
			t.Errorf("%s: %+v, want %+v", name, got, c)
		}
		if crcs := commandCRCs(b[4:]); !reflect.DeepEqual(append([]uint32(nil), crcs...), c.CRCs) {
			t.Errorf("%s: checksums in place %x, want %x", name, crcs, c.CRCs)
		}
		for n := range b[4:] {
			if err := got.Decode(b[4 : 4+n]); !errors.Is(err, ErrBadCommand) {
				t.Errorf("%s cut to %d bytes: %v", name, n, err)
			}
		}
		if err := got.Decode(append(b[4:], 0)); !errors.Is(err, ErrBadCommand) {
			t.Errorf("%s with a byte more: %v", name, err)
		}
	}
}

func TestCommandsThatContradictThemselvesAreRefused(t *testing.T) {
	write := sampleCommands()["write"].AppendTo(nil)
	for _, at := range []int{3, 64, 65, 66, 67, 68, 69, 70, 71} {
		b := bytes.Clone(write)
		b[at] = 1
		if err := new(Command).Decode(b); !errors.Is(err, ErrBadCommand) {
			t.Errorf("reserved byte %d set: %v", at, err)
		}
	}
	for name, c := range map[string]Command{
		"kind 0":             {Count: 1},
		"kind 6":             {Kind: 6, Count: 1},
		"erased from 0 on":   {Kind: CmdErased, Chunk: 1},
		"erased, last first": {Kind: CmdErased, Volume: 2, Chunk: 1},
		"fence of blocks":    {Kind: CmdFence, Epoch: 1, Count: 1},
		"fence of a chunk":   {Kind: CmdFence, Epoch: 1, Chunk: 1},
		"fence of epoch 0":   {Kind: CmdFence, Volume: 1},
		"no blocks":          {Kind: CmdWrite},
		"blocks wrap around": {Kind: CmdZero, First: 1<<32 - 1, Count: 2},
		"write with flags":   {Kind: CmdWrite, Flags: flagHead, Count: 1, CRCs: []uint32{1}},
		"unknown flag":       {Kind: CmdZero, Flags: 4, Count: 1},
		"two edges, 1 block": {Kind: CmdZero, Flags: 3, Count: 1, CRCs: []uint32{1, 2}},
		"checksums missing":  {Kind: CmdWrite, Count: 2, CRCs: []uint32{1}},
		"checksum too many":  {Kind: CmdZero, Count: 2, CRCs: []uint32{1}},
	} {
		if err := new(Command).Decode(c.AppendTo(nil)); !errors.Is(err, ErrBadCommand) {
			t.Errorf("%s: %v", name, err)
		}
	}
	write[1] = 2
	err := new(Command).Decode(write)
	if err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("newer version: %v", err)
	}
}

func TestStateRoundTrip(t *testing.T) {
	for _, want := range []*State{sampleState(), sampleJoint(), sampleErased(sampleState()),
		sampleErased(sampleJoint())} {
		stateRoundTrip(t, want)
	}
}

// Their exactly-once tables did not say which volume a session writes to.
func TestStatesOfEarlierVersionsAreRead(t *testing.T) {
	for name, want := range map[string]*State{"state-v1.txt": sampleState(),
		"state-joint-v2.txt": sampleJoint()} {
		var got State
		if err := got.Decode(readGolden(t, name)); err != nil {
			t.Fatal(name, err)
		}
		table := newSessions()
		if _, err := table.decode(got.Sessions); err != nil {
			t.Fatal(name, err)
		}
		for op, verdict := range map[uint64]verdict{17: repeated, 20: repeated, 21: fresh} {
			c := Command{Session: 9, Epoch: 3, OpID: op, Volume: 1}
			if v := table.judge(&c); v != verdict {
				t.Errorf("%s: operation %d: verdict %d, want %d", name, op, v, verdict)
			}
		}
		if table.epoch(1) != 3 || table.size != len(got.Sessions) {
			t.Errorf("%s: epoch %d, %d bytes counted as %d", name, table.epoch(1),
				len(got.Sessions), table.size)
		}
		got.Sessions = want.Sessions
		if !reflect.DeepEqual(&got, want) {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}

func stateRoundTrip(t *testing.T, want *State) {
	b := want.AppendTo(nil)
	for _, padding := range []int{0, 1, 4096} {
		var got State
		if err := got.Decode(append(bytes.Clone(b), make([]byte, padding)...)); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(&got, want) {
			t.Errorf("with %d bytes of padding: %+v, want %+v", padding, got, want)
		}
	}
	for n := range b {
		if err := new(State).Decode(b[:n]); !errors.Is(err, ErrBadState) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	if err := new(State).Decode(append(b, 0, 1)); !errors.Is(err, ErrBadState) {
		t.Errorf("with bytes behind its end: %v", err)
	}
}

func TestMessageRoundTrip(t *testing.T) {
	messages, payloads := sampleMessages()
	for name, want := range messages {
		meta := encodeMessage(t, want)
		b := payloadBuf(t, payloads[name])
		var got Message
		if err := got.Decode(meta, b); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !reflect.DeepEqual(stripped(&got), stripped(want)) {
			t.Errorf("%s:\n%+v, want\n%+v", name, got, want)
		}
		for i := range want.Payloads {
			if !bytes.Equal(got.Payloads[i].B, want.Payloads[i].B) {
				t.Errorf("%s: payload %d differs", name, i)
			}
		}
		if again := encodeMessage(t, &got); !bytes.Equal(again, meta) {
			t.Errorf("%s encodes to other bytes the second time", name)
		}
		got.Release()
		for n := range meta {
			if err := new(Message).Decode(meta[:n], b); !errors.Is(err, ErrBadMessage) {
				t.Errorf("%s cut to %d bytes: %v", name, n, err)
			}
		}
		if err := new(Message).Decode(append(meta, 0), b); !errors.Is(err, ErrBadMessage) {
			t.Errorf("%s with a byte more: %v", name, err)
		}
	}
}

// stripped is the raft message without empty and nil slices being different.
func stripped(m *Message) string {
	c := m.Message
	c.Entries = append([]raftpb.Entry(nil), c.Entries...)
	for i := range c.Entries {
		if len(c.Entries[i].Data) == 0 {
			c.Entries[i].Data = nil
		}
	}
	return fmt.Sprintf("%d %d %s", m.Copyset, m.Stamp, c.String())
}

func TestMessagesThatMustNotComeFromOutsideAreRefused(t *testing.T) {
	for k := range raftpb.MessageType_name {
		m := &Message{Message: raftpb.Message{Type: raftpb.MessageType(k), From: 1, To: 2}}
		if m.Type == raftpb.MsgSnap {
			m.Snapshot = &raftpb.Snapshot{}
		}
		err := new(Message).Decode(encodeMessage(t, m), payloadBuf(t, bodyOf(m)))
		if ok := travels(m.Type); ok != (err == nil) {
			t.Errorf("%v: %v", m.Type, err)
		}
		if never := map[raftpb.MessageType]bool{raftpb.MsgHup: true, raftpb.MsgBeat: true,
			raftpb.MsgProp: true, raftpb.MsgTransferLeader: true, raftpb.MsgReadIndex: true,
			raftpb.MsgStorageAppendResp: true, raftpb.MsgStorageApplyResp: true,
			raftpb.MsgSnapStatus: true, raftpb.MsgUnreachable: true}; never[m.Type] && err == nil {
			t.Errorf("%v is taken from outside", m.Type)
		}
	}
	m := &Message{Message: raftpb.Message{Type: raftpb.MsgHeartbeat}}
	b := encodeMessage(t, m)
	b[3] = 1
	if err := new(Message).Decode(b, nil); !errors.Is(err, ErrBadMessage) {
		t.Errorf("heartbeat with a snapshot: %v", err)
	}
}

func TestFlippedPayloadOfAMessageIsRefused(t *testing.T) {
	messages, payloads := sampleMessages()
	meta := encodeMessage(t, messages["append"])
	for i := 0; i < len(payloads["append"]); i += 509 {
		p := bytes.Clone(payloads["append"])
		p[i] ^= 1
		b := payloadBuf(t, p)
		if err := new(Message).Decode(meta, b); !errors.Is(err, ErrBadMessage) {
			t.Errorf("byte %d flipped: %v", i, err)
		}
	}
	b := payloadBuf(t, payloads["append"][:2*BlockSize])
	if err := new(Message).Decode(meta, b); !errors.Is(err, ErrBadMessage) {
		t.Errorf("payload cut: %v", err)
	}
	if err := new(Message).Decode(meta, nil); !errors.Is(err, ErrBadMessage) {
		t.Errorf("payload missing: %v", err)
	}
}

// A table of more sessions and volumes than the meta data of a frame has room for.
func TestLargeSnapshotTravels(t *testing.T) {
	m := &Message{Message: raftpb.Message{Type: raftpb.MsgSnap, Snapshot: &raftpb.Snapshot{
		Data: bytes.Repeat([]byte("state"), 10*wire.MaxMeta/5)}}}
	meta, body := encodeMessage(t, m), bodyOf(m)
	if len(meta) > wire.MaxMeta || len(body) > wire.MaxPayload {
		t.Fatalf("a frame of %d and %d bytes", len(meta), len(body))
	}
	var got Message
	if err := got.Decode(meta, payloadBuf(t, body)); err != nil ||
		!bytes.Equal(got.Snapshot.Data, m.Snapshot.Data) {
		t.Errorf("%v", err)
	}
	for _, p := range [][]byte{body[:len(body)-1], append(bytes.Clone(body), 0), nil} {
		if err := new(Message).Decode(meta, payloadBuf(t, p)); !errors.Is(err, ErrBadMessage) {
			t.Errorf("%d bytes for %d: %v", len(p), len(body), err)
		}
	}
	body[len(body)/2] ^= 1
	if err := new(Message).Decode(meta, payloadBuf(t, body)); !errors.Is(err, ErrBadMessage) {
		t.Errorf("a bit of it flipped: %v", err)
	}
	m.Snapshot.Data = make([]byte, wire.MaxPayload)
	if _, err := m.AppendTo(nil); !errors.Is(err, ErrBadMessage) {
		t.Errorf("a snapshot that fits no frame: %v", err)
	}
}

func TestSplitMessagesFitFramesAndAddUp(t *testing.T) {
	p, crcs := samplePayload(MaxOpBytes / BlockSize)
	m := &Message{Message: raftpb.Message{Type: raftpb.MsgApp, Term: 3, LogTerm: 2, Index: 10}}
	add := func(blocks int) {
		c := Command{Kind: CmdWrite, Session: 1, Count: uint32(blocks), CRCs: crcs[:blocks]}
		if blocks == 0 {
			c.Kind, c.Count, c.CRCs = CmdZero, 1, nil
		}
		m.Entries = append(m.Entries, raftpb.Entry{Term: 3, Index: m.Index + 1 +
			uint64(len(m.Entries)), Data: c.AppendTo(nil)})
		m.Payloads = append(m.Payloads, Payload{B: p[:blocks*BlockSize], Len: blocks * BlockSize})
	}
	for i := range 40 {
		add([...]int{1, 256, 0, 255, 2, 128}[i%6])
	}
	for range 2000 {
		add(0)
	}
	index, logTerm := m.Index, m.LogTerm
	count := 0
	for _, part := range m.Split(nil) {
		if part.Index != index || part.LogTerm != logTerm {
			t.Fatalf("part behind %d of term %d, want %d of %d", part.Index, part.LogTerm, index,
				logTerm)
		}
		size := 0
		for _, p := range part.Payloads {
			size += p.Len
		}
		if meta := encodeMessage(t, &part); len(meta) > wire.MaxMeta || size > wire.MaxPayload {
			t.Errorf("part with %d bytes of metadata and %d of payload", len(meta), size)
		}
		count += len(part.Entries)
		last := part.Entries[len(part.Entries)-1]
		index, logTerm = last.Index, last.Term
	}
	if count != len(m.Entries) {
		t.Errorf("%d entries in the parts, want %d", count, len(m.Entries))
	}
}

// allocated runs f some times and gives what one of them allocated, in bytes.
func allocated(f func()) uint64 {
	const runs = 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		f()
	}
	runtime.ReadMemStats(&after)
	return (after.TotalAlloc - before.TotalAlloc) / runs
}

func TestDecodersAllocateNoMoreThanTheirInputJustifies(t *testing.T) {
	huge := []byte{0xff, 0xff, 0xff, 0x7f}
	command := sampleCommands()["write"].AppendTo(nil)
	copy(command[4:], huge)
	state := sampleState().AppendTo(nil)
	copy(state[65:], huge) // voters
	table := slices.Concat([]byte{1, 0, 0, 0}, make([]byte, 16), huge)
	flat := slices.Concat([]byte{0, 0, 0, 0, 1, 0, 0, 0}, make([]byte, 24), huge)
	m := encodeMessage(t, &Message{Message: raftpb.Message{Type: raftpb.MsgApp}})
	copy(m[4:], huge)
	for name, f := range map[string]func(){
		"command": func() { new(Command).Decode(command) },
		"state":   func() { new(State).Decode(state) },
		"table":   func() { new(sessions).decode(table) },
		"flat":    func() { new(sessions).decodeFlat(flat) },
		"message": func() { new(Message).Decode(m, nil) },
	} {
		if n := allocated(f); n > 4096 {
			t.Errorf("%s: %d bytes for a small input", name, n)
		}
	}
}

func FuzzCommand(f *testing.F) {
	for _, c := range sampleCommands() {
		f.Add(c.AppendTo(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var c Command
		if c.Decode(b) == nil && !bytes.Equal(c.AppendTo(nil), b) {
			t.Errorf("%x decodes to %+v, which encodes to %x", b, c, c.AppendTo(nil))
		}
	})
}

func FuzzState(f *testing.F) {
	f.Add(sampleState().AppendTo(nil))
	f.Add(sampleJoint().AppendTo(nil))
	f.Add(sampleErased(sampleJoint()).AppendTo(nil))
	f.Add(readGolden(f, "state-v1.txt"))
	f.Add(readGolden(f, "state-joint-v2.txt"))
	f.Add(NewState(1, 1, 1, nil).AppendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s State
		if s.Decode(b) != nil {
			return
		}
		again := s.AppendTo(nil)
		if b[0] <= oldStates {
			return // written anew, it has the version of today
		}
		if len(again) > len(b) || !bytes.Equal(again, b[:len(again)]) {
			t.Errorf("%x encodes to %x", b, again)
		}
		table := newSessions()
		if _, err := table.decode(s.Sessions); err != nil {
			t.Error(err)
		}
		if !bytes.Equal(table.appendTo(nil), s.Sessions) {
			t.Errorf("table %x encodes to %x", s.Sessions, table.appendTo(nil))
		}
	})
}

func FuzzMessage(f *testing.F) {
	messages, payloads := sampleMessages()
	for name, m := range messages {
		f.Add(encodeMessage(f, m), payloads[name])
	}
	f.Fuzz(func(t *testing.T, meta, payload []byte) {
		b := payloadBuf(t, payload[:min(len(payload), 8*BlockSize)])
		var m Message
		if m.Decode(meta, b) != nil {
			return
		}
		if again := encodeMessage(t, &m); m.Snapshot == nil && !bytes.Equal(again, meta) {
			t.Errorf("%x encodes to %x", meta, again)
		}
		m.Release()
	})
}
