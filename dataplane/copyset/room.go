package copyset

import (
	"sync"

	"go.etcd.io/raft/v3/raftpb"
)

// room gives short slices out of larger pieces of memory. What comes out of one piece goes when the
// last of it is no longer used, so it is for things that live about as long as their neighbours.
type room[T any] struct{ left []T }

// take gives n elements that nobody has had; piece is how many are made at a time.
func (r *room[T]) take(n, piece int) []T {
	if n > len(r.left) {
		if n >= piece {
			return make([]T, n)
		}
		r.left = make([]T, piece)
	}
	out := r.left[:n:n]
	r.left = r.left[n:]
	return out
}

// arrivals is memory for the entries of messages that are decoded. Raft keeps them until they are
// in the log, and the log keeps their commands.
type arrivals struct {
	entries room[raftpb.Entry]
	data    room[byte]
}

var arrivalRooms = sync.Pool{New: func() any { return new(arrivals) }}

// arrivalRoom is memory for count entries with so many bytes of commands, which begin where the
// checksums in a command lie as numbers do.
func arrivalRoom(count, bytes int) ([]raftpb.Entry, []byte) {
	a := arrivalRooms.Get().(*arrivals)
	defer arrivalRooms.Put(a)
	const align = 8
	data := a.data.take((bytes+align-1)&^(align-1), commandSlab)
	return a.entries.take(count, entryPiece), data[:0]
}
