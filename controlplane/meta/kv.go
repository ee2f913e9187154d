package meta

import (
	"context"
	"errors"
)

var (
	// ErrNotFound: there is no such key.
	ErrNotFound = errors.New("meta: not found")
	// ErrTooLarge: an entry or transaction is over the bounds in limits.go.
	ErrTooLarge = errors.New("meta: too large")
	// ErrForeign: the directory, or the prefix in etcd, holds something that is not this program's
	// metadata.
	ErrForeign = errors.New("meta: foreign data")
	// ErrVersion: written by a newer version of the program.
	ErrVersion = errors.New("meta: newer format version")
	// ErrLocked: another process has the directory open.
	ErrLocked = errors.New("meta: directory is in use")
	// ErrMoved: the metadata of the directory were moved elsewhere.
	ErrMoved = errors.New("meta: metadata were moved")
	// ErrExists: the target of a move holds something.
	ErrExists = errors.New("meta: the target is not empty")
	// ErrCorrupt: a value does not decode.
	ErrCorrupt = errors.New("meta: corrupt value")
	// ErrFailed: a commit ended without a known outcome; restart to read what is there.
	ErrFailed = errors.New("meta: store failed")
	// ErrClosed: the store or the watch was closed.
	ErrClosed = errors.New("meta: closed")
	// ErrUnavailable: the store does not answer; nothing was written.
	ErrUnavailable = errors.New("meta: store does not answer")
	// ErrLost: the leadership that the transaction belongs to has ended; nothing was written.
	ErrLost = errors.New("meta: leadership lost")
	// ErrLagged: changes were dropped because nobody read them in time; scan again.
	ErrLagged = errors.New("meta: watch fell behind")
)

// Store is what can be read and changed. Safe for concurrent use.
type Store interface {
	// View runs fn on one consistent snapshot. What fn returns, View returns.
	View(ctx context.Context, fn func(Reader) error) error
	// Update runs fn and commits what it wrote, durably and as one. When fn returns an error,
	// nothing is written and Update returns that error. fn may run more than once.
	Update(ctx context.Context, fn func(Tx) error) error
}

// KV is an ordered map of bytes to bytes with transactions. Safe for concurrent use.
type KV interface {
	Store
	// Watch delivers, in order, every change of a key with the prefix that is committed after
	// Watch returned. To follow a prefix, watch first and scan afterwards.
	Watch(ctx context.Context, prefix []byte) (Watch, error)
	// Campaign waits until nobody leads under the name, and leads. value is what Leader tells the
	// others: an address. It returns the context's error, or ErrClosed.
	Campaign(ctx context.Context, name, value string) (Leadership, error)
	// Leader returns the value of whoever leads under the name, or ErrNotFound.
	Leader(ctx context.Context, name string) (string, error)
	// Close ends all watches. Transactions in flight are waited for.
	Close() error
}

// Leadership is the KV as its one leader may use it. An Update that would commit after another may
// lead is ErrLost and writes nothing, whatever this process believes. View is not fenced.
type Leadership interface {
	Store
	// Held says whether nobody else can lead yet, by this process's own clock: it is false before
	// the store gives the leadership to another.
	Held() bool
	// Lost is closed when Held becomes false: the store took it away or does not answer, or it was
	// resigned. In etcd an Update that was ErrFailed ends it too, so that the next leadership
	// begins with what is really there; a pebble directory stays failed until it is opened again.
	Lost() <-chan struct{}
	// Resign waits for Updates in flight and lets others lead at once.
	Resign(ctx context.Context) error
}

// Reader reads inside a transaction. It is not safe for concurrent use, nor valid after it.
type Reader interface {
	// Get returns a copy of the value, or ErrNotFound.
	Get(key []byte) ([]byte, error)
	// Scan calls fn for the keys with the prefix in rising order, beginning at the first key >=
	// from (nil: the first of the prefix), for at most limit keys (0: no limit). The slices are
	// valid only during the call. An error of fn ends the scan and is returned.
	Scan(prefix, from []byte, limit int, fn func(key, value []byte) error) error
	// Revision is the number of the last transaction that is seen, see Change.
	Revision() (uint64, error)
}

// Tx reads what was committed and what it wrote itself.
type Tx interface {
	Reader
	// Put writes a copy of key and value.
	Put(key, value []byte) error
	// Delete removes the key; a key that is not there is no error.
	Delete(key []byte) error
}

// Change is one key as a transaction left it.
type Change struct {
	Revision uint64 // of the transaction; rises by one with each that changed anything
	Key      []byte
	Value    []byte // nil when Deleted
	Deleted  bool
}

// Watch is a stream of changes. One goroutine reads it; Close may be called from any.
type Watch interface {
	// Next waits for changes and returns all that are there. It returns ErrLagged when changes
	// were lost, ErrClosed after Close, or the context's error.
	Next(ctx context.Context) ([]Change, error)
	Close()
}

// prefixEnd returns the first key behind all keys with the prefix, or nil when there is none.
func prefixEnd(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			end := append([]byte(nil), prefix[:i+1]...)
			end[i]++
			return end
		}
	}
	return nil
}
