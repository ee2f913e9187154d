package copyset

import (
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// ErrBadMessage marks bytes that are no raft message of this version.
var ErrBadMessage = errors.New("copyset: bad message")

const (
	messageVersion = 2
	messageHeader  = 104
	entryHeader    = 16
)

// AppendTo appends the message's meta data; the frame's payload is Body. Part of the wire format,
// little-endian:
//
//	 0         1      2        3          4             8
//	+---------+------+--------+----------+-------------+---------+------+----+------+----------+
//	| version | type | reject | snapshot | entry count | copyset | from | to | term | log term |
//	+---------+------+--------+----------+-------------+---------+------+----+------+----------+
//	 48      56       64     72            80      88               96
//	+-------+--------+------+-------------+-------+----------------+---------------------------+
//	| index | commit | vote | reject hint | stamp | context length | snapshot length           |
//	+-------+--------+------+-------------+-------+----------------+---------------------------+
//	104
//	  context | with a snapshot its crc32c, u32 | then for each entry:
//	+-----------+---------------+------------+----------------+------+
//	| term, u64 | type, u8 | 0  | length u24 | blocks, u32    | data |
//	+-----------+---------------+------------+----------------+------+
//
// Entry i has index index+1+i. type 0 is a normal entry, length that of its data, blocks that of
// its payload. The payload is that of the entries, in their order, or the snapshot.
func (m *Message) AppendTo(dst []byte) ([]byte, error) {
	le := binary.LittleEndian
	snap, err := m.snapshot()
	if err != nil {
		return nil, err
	}
	dst = append(dst, messageVersion, byte(m.Type), bit(m.Reject), bit(snap != nil))
	dst = le.AppendUint32(dst, uint32(len(m.Entries)))
	for _, v := range [...]uint64{m.Copyset, m.From, m.To, m.Term, m.LogTerm, m.Index, m.Commit,
		m.Vote, m.RejectHint, uint64(m.Stamp), uint64(len(m.Context)), uint64(len(snap))} {
		dst = le.AppendUint64(dst, v)
	}
	dst = append(dst, m.Context...)
	if snap != nil {
		dst = le.AppendUint32(dst, wire.CRC32C(snap))
	}
	for i := range m.Entries {
		e := &m.Entries[i]
		dst = le.AppendUint64(dst, e.Term)
		dst = le.AppendUint32(dst, uint32(e.Type)|uint32(len(e.Data))<<8)
		dst = le.AppendUint32(dst, uint32(m.payloadLen(i)/BlockSize))
		dst = append(dst, e.Data...)
	}
	return dst, nil
}

// Body appends the pieces of the frame's payload to dst.
func (m *Message) Body(dst [][]byte) ([][]byte, error) {
	snap, err := m.snapshot()
	if err != nil || snap != nil {
		return append(dst, snap), err
	}
	for i := range m.Payloads {
		if m.Payloads[i].Len > 0 {
			dst = append(dst, m.Payloads[i].B)
		}
	}
	return dst, nil
}

// snapshot is the encoded snapshot, nil without one. It has the exactly-once table, which can be
// larger than what a frame's meta data may be.
func (m *Message) snapshot() ([]byte, error) {
	if m.Snapshot == nil || m.Type != raftpb.MsgSnap {
		return nil, nil
	}
	snap, err := m.Snapshot.Marshal()
	switch {
	case err != nil:
		return nil, fmt.Errorf("copyset: snapshot: %w", err)
	case len(snap) == 0 || len(snap) > wire.MaxPayload:
		return nil, fmt.Errorf("%w: snapshot of %d bytes, a frame takes 1 to %d", ErrBadMessage,
			len(snap), wire.MaxPayload)
	}
	return snap, nil
}

func (m *Message) payloadLen(i int) int {
	if i < len(m.Payloads) {
		return m.Payloads[i].Len
	}
	return 0
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// travels reports whether messages of a type go from one replica to another. Raft has others: local
// ones, and requests that a follower would pass on to a leader, which must not come from outside.
func travels(t raftpb.MessageType) bool {
	switch t {
	case raftpb.MsgApp, raftpb.MsgAppResp, raftpb.MsgHeartbeat, raftpb.MsgHeartbeatResp,
		raftpb.MsgVote, raftpb.MsgVoteResp, raftpb.MsgPreVote, raftpb.MsgPreVoteResp,
		raftpb.MsgSnap, raftpb.MsgTimeoutNow:
		return true
	}
	return false
}

// Split appends to out the message, cut into several whose frames stay within the wire's bounds.
// Each is a complete raft message: the entry before its first one is named by index and term.
func (m *Message) Split(out []Message) []Message {
	rest := *m
	for {
		n, payload, meta := 0, 0, messageHeader+len(m.Context)
		for n < len(rest.Entries) {
			p, d := rest.payloadLen(n), entryHeader+len(rest.Entries[n].Data)
			if n > 0 && (payload+p > wire.MaxPayload || meta+d > wire.MaxMeta) {
				break
			}
			n, payload, meta = n+1, payload+p, meta+d
		}
		if n == len(rest.Entries) {
			return append(out, rest)
		}
		part := rest
		part.Entries, part.Payloads = rest.Entries[:n:n], rest.Payloads[:n:n]
		out = append(out, part)
		last := rest.Entries[n-1]
		rest.Entries, rest.Payloads = rest.Entries[n:], rest.Payloads[n:]
		rest.Index, rest.LogTerm = last.Index, last.Term
	}
}

// Decode reads a message and checks every payload block against its checksum. The payloads alias
// b, and each holds a reference of its own; the caller keeps and gives back the one it has. It
// fails with ErrBadMessage.
func (m *Message) Decode(meta []byte, b *buf.Buf) error {
	if len(meta) < messageHeader {
		return fmt.Errorf("%w: %d bytes, the header has %d", ErrBadMessage, len(meta),
			messageHeader)
	}
	if meta[0] != messageVersion {
		return fmt.Errorf("%w: version %d, this build reads %d", ErrBadMessage, meta[0],
			messageVersion)
	}
	if meta[2] > 1 || meta[3] > 1 || !travels(raftpb.MessageType(meta[1])) {
		return fmt.Errorf("%w: type %d, reject %d, snapshot %d", ErrBadMessage, meta[1], meta[2],
			meta[3])
	}
	r := reader{b: meta[4:]}
	count := r.u32()
	*m = Message{Copyset: r.u64(), Payloads: m.Payloads[:0]}
	m.Type, m.Reject = raftpb.MessageType(meta[1]), meta[2] == 1
	for _, v := range [...]*uint64{&m.From, &m.To, &m.Term, &m.LogTerm, &m.Index, &m.Commit,
		&m.Vote, &m.RejectHint} {
		*v = r.u64()
	}
	m.Stamp = int64(r.u64())
	context, snap := r.u64(), r.u64()
	if context > uint64(len(r.b)) {
		return fmt.Errorf("%w: context of %d bytes", ErrBadMessage, context)
	}
	if context > 0 {
		m.Context = append([]byte(nil), r.take(int(context))...)
	}
	var payload []byte
	if b != nil {
		payload = b.Bytes()
	}
	if m.Type == raftpb.MsgSnap || meta[3] == 1 || snap != 0 {
		if err := m.decodeSnapshot(&r, payload, snap, meta[3] == 1); err != nil {
			return err
		}
		payload = nil
	}
	err := m.decodeEntries(&r, int(count), payload, b)
	if err != nil {
		m.Release()
	}
	return err
}

func (m *Message) decodeSnapshot(r *reader, p []byte, length uint64, present bool) error {
	if !present || m.Type != raftpb.MsgSnap || length == 0 || length != uint64(len(p)) {
		return fmt.Errorf("%w: %v with a snapshot of %d bytes, present %v, and a payload of %d",
			ErrBadMessage, m.Type, length, present, len(p))
	}
	if want := r.u32(); r.err != nil || wire.CRC32C(p) != want {
		return fmt.Errorf("%w: snapshot of %d bytes does not fit its crc32c", ErrBadMessage,
			length)
	}
	m.Snapshot = new(raftpb.Snapshot)
	if err := m.Snapshot.Unmarshal(p); err != nil {
		return fmt.Errorf("%w: snapshot: %w", ErrBadMessage, err)
	}
	return nil
}

func (m *Message) decodeEntries(r *reader, count int, payload []byte, b *buf.Buf) error {
	if count > len(r.b)/entryHeader {
		return fmt.Errorf("%w: %d entries in %d bytes", ErrBadMessage, count, len(r.b))
	}
	if count == 0 {
		return r.ends(payload)
	}
	var data []byte
	m.Entries, data = arrivalRoom(count, len(r.b)-count*entryHeader)
	m.Payloads = append(m.Payloads, make([]Payload, count)...)
	for i := range count {
		e := &m.Entries[i]
		e.Term, e.Index = r.u64(), m.Index+1+uint64(i)
		word, blocks := r.u32(), int(r.u32())
		e.Type = raftpb.EntryType(word & 0xff)
		from := len(data)
		data = append(data, r.take(int(word>>8))...)
		e.Data = data[from:len(data):len(data)]
		if r.err != nil || blocks > len(payload)/BlockSize {
			return fmt.Errorf("%w: entry %d with %d blocks ends early", ErrBadMessage, i, blocks)
		}
		if err := m.takePayload(i, payload[:blocks*BlockSize], b); err != nil {
			return err
		}
		payload = payload[blocks*BlockSize:]
	}
	return r.ends(payload)
}

// ends checks that nothing is left of a message.
func (r *reader) ends(payload []byte) error {
	if len(payload) != 0 || len(r.b) != 0 {
		return fmt.Errorf("%w: %d payload and %d other bytes behind the entries", ErrBadMessage,
			len(payload), len(r.b))
	}
	return nil
}

// PayloadCRCs is the checksums of the blocks of payload i, as its command has them.
func (m *Message) PayloadCRCs(i int) []uint32 { return commandCRCs(m.Entries[i].Data) }

// takePayload checks an entry's payload against its command and holds it.
func (m *Message) takePayload(i int, p []byte, b *buf.Buf) error {
	e := &m.Entries[i]
	want := 0
	var c Command
	if e.Type != raftpb.EntryNormal && e.Type != raftpb.EntryConfChangeV2 {
		return fmt.Errorf("%w: entry %d of type %d", ErrBadMessage, e.Index, e.Type)
	}
	if e.Type == raftpb.EntryNormal && len(e.Data) > 0 {
		if err := c.Decode(e.Data); err != nil {
			return fmt.Errorf("%w: entry %d: %w", ErrBadMessage, e.Index, err)
		}
		want = c.PayloadBlocks() * BlockSize
	}
	if len(p) != want {
		return fmt.Errorf("%w: entry %d has %d payload bytes, its command %d", ErrBadMessage,
			e.Index, len(p), want)
	}
	for k := range len(p) / BlockSize {
		if got := wire.CRC32C(p[k*BlockSize : (k+1)*BlockSize]); got != c.CRCs[k] {
			return fmt.Errorf("%w: entry %d block %d: crc32c %08x, the command has %08x",
				ErrBadMessage, e.Index, k, got, c.CRCs[k])
		}
	}
	if len(p) > 0 {
		m.Payloads[i] = Payload{B: p, Buf: b.Retain(), Len: len(p)}
	}
	return nil
}
