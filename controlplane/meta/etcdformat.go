package meta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Keys in etcd, all below one prefix, "/ashlar/" unless it is configured:
//
//	format                 one line of text, as in a metadata directory; what makes the prefix ours
//	head                   the last transaction, see below
//	d/ key                 the data, by the keys of the tables
//	j/ commit / part       a transaction too large for one request, before it is carried out
//	e/ name                who leads: the value is its address, the lease its life
const (
	etcdFormatKey = "format"
	etcdHeadKey   = "head"
	etcdData      = "d/"
	etcdJournal   = "j/"
	etcdElection  = "e/"
)

// headVersion and partVersion are the versions of the two structures below.
const (
	headVersion = 1
	partVersion = 1
)

// head is the last committed transaction. Every commit replaces it on the condition that nobody
// did so since the transaction began to read. Numbers are big-endian.
//
//	 0         1             9                 25         29
//	+---------+-------------+-----------------+----------+
//	| version | revision u64| commit 16 bytes | parts u32|
//	+---------+-------------+-----------------+----------+
//
// commit names the transaction, so that its author finds out whether it took place. parts is not
// zero while the transaction is committed and lies in the journal, not yet carried out.
type head struct {
	revision uint64
	commit   [16]byte
	parts    uint32
}

const headBytes = 29

func (h head) encode() []byte {
	b := append(make([]byte, 0, headBytes), headVersion)
	b = binary.BigEndian.AppendUint64(b, h.revision)
	b = append(b, h.commit[:]...)
	return binary.BigEndian.AppendUint32(b, h.parts)
}

func parseHead(b []byte) (h head, err error) {
	switch {
	case len(b) > 0 && b[0] > headVersion:
		return h, fmt.Errorf("%w: head has version %d, this program knows up to %d", ErrVersion,
			b[0], headVersion)
	case len(b) != headBytes || b[0] != headVersion:
		return h, fmt.Errorf("%w: head %x", ErrCorrupt, b)
	}
	h.revision = binary.BigEndian.Uint64(b[1:])
	copy(h.commit[:], b[9:])
	h.parts = binary.BigEndian.Uint32(b[25:])
	if h.parts > maxParts {
		return h, fmt.Errorf("%w: head names %d parts, at most %d", ErrCorrupt, h.parts, maxParts)
	}
	return h, nil
}

// write is one key as a transaction leaves it.
type write struct {
	key, value []byte
	deleted    bool
}

func (w write) size() int { return len(w.key) + len(w.value) }

// A part of the journal is a version, writes, and the crc32c of all before it, big-endian. A write
// is
//
//	kind u8: 1 put, 2 delete | length of key uvarint | key | put only: length uvarint | value
const (
	kindPut    = 1
	kindDelete = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encodeParts packs writes into parts of about partBytes.
func encodeParts(writes []write) (parts [][]byte) {
	for len(writes) > 0 {
		b := []byte{partVersion}
		n := 0
		for n < len(writes) && (n == 0 || len(b)+writes[n].size() < partBytes) {
			b = appendWrite(b, writes[n])
			n++
		}
		parts = append(parts, binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)))
		writes = writes[n:]
	}
	return parts
}

func appendWrite(b []byte, w write) []byte {
	kind := byte(kindPut)
	if w.deleted {
		kind = kindDelete
	}
	b = binary.AppendUvarint(append(b, kind), uint64(len(w.key)))
	b = append(b, w.key...)
	if w.deleted {
		return b
	}
	b = binary.AppendUvarint(b, uint64(len(w.value)))
	return append(b, w.value...)
}

var errPart = errors.New("a part of the journal does not decode")

func decodePart(b []byte) ([]write, error) {
	end := len(b) - 4
	if end < 1 || crc32.Checksum(b[:end], castagnoli) != binary.BigEndian.Uint32(b[end:]) {
		return nil, fmt.Errorf("%w: %w: checksum", ErrCorrupt, errPart)
	}
	if b[0] != partVersion {
		return nil, fmt.Errorf("%w: %w: version %d, this program knows %d", ErrVersion, errPart,
			b[0], partVersion)
	}
	var writes []write
	for rest := b[1:end]; len(rest) > 0; {
		w := write{deleted: rest[0] == kindDelete}
		if !w.deleted && rest[0] != kindPut {
			return nil, fmt.Errorf("%w: %w: kind %d", ErrCorrupt, errPart, rest[0])
		}
		var ok bool
		if w.key, rest, ok = cutBytes(rest[1:]); ok && !w.deleted {
			w.value, rest, ok = cutBytes(rest)
		}
		if !ok {
			return nil, fmt.Errorf("%w: %w: cut off", ErrCorrupt, errPart)
		}
		writes = append(writes, w)
	}
	return writes, nil
}

// cutBytes takes a string with its length before it off b.
func cutBytes(b []byte) (taken, rest []byte, ok bool) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)-used) {
		return nil, nil, false
	}
	b = b[used:]
	return b[:n], b[n:], true
}
