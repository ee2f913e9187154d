package client

import (
	"sync"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// piece is one request: the part of an operation that lies in one chunk and fits one frame.
// Exactly one party owns it at a time: the goroutine that drives it, the table of a connection,
// a copyset's parking list, the timers, or a volume's list of pieces without a mapping. Taking it
// out of a table, under that table's lock, takes the ownership.
type piece struct {
	op     *Op
	vol    *Volume
	route  *route
	kind   wire.Op
	chunk  uint64
	offset uint32 // bytes inside the chunk
	length uint32
	data   []byte   // the user's memory; nil for zero and for what is fetched
	buf    *buf.Buf // data lies in it; the reference is the user's; nil: in none
	got    *buf.Buf // what was fetched
	at     int      // where the operation wants it
	crcs   []uint32
	id     uint64 // op id; 0 for reads, which need none
	m      machine

	// Set while a connection's table holds it.
	peer    *peer
	batch   uint64 // number of the batch that carries it
	attempt attempt

	next *piece // in whichever list owns it
}

var pieces = sync.Pool{New: func() any { return new(piece) }}

func newPiece() *piece { return pieces.Get().(*piece) }

func (x *piece) free() {
	*x = piece{crcs: x.crcs[:0]}
	pieces.Put(x)
}

// pieceList is a first-in, first-out list.
type pieceList struct {
	first, last *piece
	n           int
}

func (l *pieceList) push(x *piece) {
	x.next = nil
	if l.first == nil {
		l.first = x
	} else {
		l.last.next = x
	}
	l.last = x
	l.n++
}

func (l *pieceList) pop() *piece {
	x := l.first
	if x == nil {
		return nil
	}
	l.first = x.next
	x.next = nil
	l.n--
	return x
}

// takeAll empties the list and returns what it held.
func (l *pieceList) takeAll() pieceList {
	all := *l
	*l = pieceList{}
	return all
}

// takeIf removes the pieces that match, in order.
func (l *pieceList) takeIf(match func(*piece) bool) pieceList {
	var out pieceList
	all := l.takeAll()
	for x := all.pop(); x != nil; x = all.pop() {
		if match(x) {
			out.push(x)
		} else {
			l.push(x)
		}
	}
	return out
}
