package meta

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// PebbleConfig is how OpenPebble opens a directory.
type PebbleConfig struct {
	Logger *slog.Logger // nil: slog.Default()
	FS     vfs.FS       // nil: the operating system's
}

// pebbleFormat is pinned so that an older binary of the same format version can read what a newer
// one wrote; raising it is a change of FormatVersion.
const pebbleFormat = pebble.FormatFlushableIngestExcises

// revisionKey holds the number of the last transaction, 8 bytes big-endian. No table starts with
// a zero byte, so watches and scans of tables never see it.
var revisionKey = []byte{0}

// pebbleKV is the embedded KV: one writer at a time, readers on snapshots.
type pebbleKV struct {
	db        *pebble.DB
	hub       hub
	elections elections

	mu       sync.Mutex // held by the one writer
	revision uint64
	failed   error

	life
}

// OpenPebble opens or creates the metadata directory dir. See the package comment for what is
// refused. The caller closes the KV.
func OpenPebble(dir string, cfg PebbleConfig) (KV, error) { return openPebble(dir, cfg, false) }

// openPebble opens a directory whose metadata were moved only where evenMoved says so.
func openPebble(dir string, cfg PebbleConfig, evenMoved bool) (KV, error) {
	if cfg.FS == nil {
		cfg.FS = vfs.Default
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if err := claim(cfg.FS, dir); err != nil {
		return nil, err
	}
	moved, err := readMoved(cfg.FS, dir)
	if err != nil {
		return nil, err
	}
	if moved != "" && !evenMoved {
		return nil, movedError(dir, moved)
	}
	path := cfg.FS.PathJoin(dir, dbDir)
	lock, err := pebble.LockDirectory(ensure(cfg.FS, path), cfg.FS)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: another control plane runs on it; stop that one or "+
			"choose another directory (%v)", ErrLocked, dir, err)
	}
	db, err := pebble.Open(path, pebbleOptions(cfg, lock))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("meta: open %s: %w", path, err), lock.Close())
	}
	k := &pebbleKV{db: db}
	k.elections.held, k.elections.ended = map[string]*pebbleLeadership{}, make(chan struct{})
	if k.revision, err = readRevision(db); err != nil {
		return nil, errors.Join(err, db.Close(), lock.Close())
	}
	return &lockedKV{pebbleKV: k, lock: lock}, nil
}

// lockedKV releases the directory after the database: pebble leaves a lock that it was given to
// its owner.
type lockedKV struct {
	*pebbleKV
	lock *pebble.Lock
}

func (k *lockedKV) Close() error {
	err := k.pebbleKV.Close()
	if errors.Is(err, ErrClosed) {
		return err
	}
	return errors.Join(err, k.lock.Close())
}

func ensure(fs vfs.FS, path string) string {
	// A failure shows when the directory is locked.
	_ = fs.MkdirAll(path, 0o755)
	return path
}

func pebbleOptions(cfg PebbleConfig, lock *pebble.Lock) *pebble.Options {
	return &pebble.Options{
		FS:                 cfg.FS,
		Lock:               lock,
		FormatMajorVersion: pebbleFormat,
		MemTableSize:       memTableBytes,
		CacheSize:          cacheBytes,
		Logger:             pebbleLog{cfg.Logger},
	}
}

func readRevision(db pebble.Reader) (uint64, error) {
	v, err := get(db, revisionKey)
	switch {
	case errors.Is(err, ErrNotFound):
		return 0, nil
	case err != nil:
		return 0, err
	case len(v) != 8:
		return 0, fmt.Errorf("%w: revision has %d bytes, want 8", ErrCorrupt, len(v))
	}
	return binary.BigEndian.Uint64(v), nil
}

func (k *pebbleKV) View(ctx context.Context, fn func(Reader) error) error {
	if err := k.enter(ctx); err != nil {
		return err
	}
	defer k.leave()
	snap := k.db.NewSnapshot()
	defer snap.Close()
	return fn(pebbleReader{snap})
}

func (k *pebbleKV) Update(ctx context.Context, fn func(Tx) error) error {
	return k.update(ctx, fn, func() error { return nil })
}

// update runs a transaction that commits only where may says so.
func (k *pebbleKV) update(ctx context.Context, fn func(Tx) error, may func() error) error {
	if err := k.enter(ctx); err != nil {
		return err
	}
	defer k.leave()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failed != nil {
		return k.failed
	}
	if err := may(); err != nil {
		return err
	}
	batch := k.db.NewIndexedBatch()
	defer batch.Close()
	tx := &pebbleTx{pebbleReader: pebbleReader{batch}, batch: batch}
	if err := fn(tx); err != nil {
		return err
	}
	if tx.bytes > MaxTxnBytes {
		return fmt.Errorf("%w: transaction of %d bytes, at most %d", ErrTooLarge, tx.bytes,
			MaxTxnBytes)
	}
	if len(tx.changes) == 0 {
		return nil
	}
	return k.commit(batch, tx.changes)
}

func (k *pebbleKV) commit(batch *pebble.Batch, changes []Change) (err error) {
	// Pebble panics, through pebbleLog.Fatalf, when it cannot write its log.
	defer func() {
		if r := recover(); r != nil {
			k.failed = fmt.Errorf("%w: commit: %v", ErrFailed, r)
			err = k.failed
		}
	}()
	revision := k.revision + 1
	value := binary.BigEndian.AppendUint64(nil, revision)
	err = batch.Set(revisionKey, value, nil)
	if err == nil {
		err = batch.Commit(pebble.Sync)
	}
	if err != nil {
		k.failed = fmt.Errorf("%w: commit: %w", ErrFailed, err)
		return k.failed
	}
	k.revision = revision
	for i := range changes {
		changes[i].Revision = revision
	}
	k.hub.publish(changes)
	return nil
}

func (k *pebbleKV) Watch(ctx context.Context, prefix []byte) (Watch, error) {
	if err := k.enter(ctx); err != nil {
		return nil, err
	}
	defer k.leave()
	// The writer publishes under mu: from here on it sees this watch.
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.hub.add(prefix, k.revision)
}

func (k *pebbleKV) Close() error {
	return k.end(func() error {
		k.elections.close()
		k.hub.close()
		if err := k.db.Close(); err != nil {
			return fmt.Errorf("meta: close: %w", err)
		}
		return nil
	})
}

// pebbleReader reads from a snapshot or a batch.
type pebbleReader struct{ r pebble.Reader }

func get(r pebble.Reader, key []byte) ([]byte, error) {
	v, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("meta: get %q: %w", key, err)
	}
	defer closer.Close()
	return bytes.Clone(v), nil
}

func (r pebbleReader) Get(key []byte) ([]byte, error) { return get(r.r, key) }

func (r pebbleReader) Revision() (uint64, error) { return readRevision(r.r) }

func (r pebbleReader) Scan(prefix, from []byte, limit int, fn func(k, v []byte) error) error {
	if bytes.Compare(from, prefix) < 0 {
		from = prefix
	}
	it, err := r.r.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return fmt.Errorf("meta: scan %q: %w", prefix, err)
	}
	err = scan(it, limit, fn)
	if cerr := it.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("meta: scan %q: %w", prefix, cerr)
	}
	return err
}

func scan(it *pebble.Iterator, limit int, fn func(k, v []byte) error) error {
	n := 0
	for ok := it.First(); ok && (limit <= 0 || n < limit); ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if err := fn(it.Key(), v); err != nil {
			return err
		}
		n++
	}
	return it.Error()
}

type pebbleTx struct {
	pebbleReader
	batch   *pebble.Batch
	changes []Change
	bytes   int
}

func (t *pebbleTx) Put(key, value []byte) error {
	if err := checkEntry(key, value); err != nil {
		return err
	}
	t.note(Change{Key: bytes.Clone(key), Value: append([]byte{}, value...)})
	return t.batch.Set(key, value, nil)
}

func (t *pebbleTx) Delete(key []byte) error {
	if err := checkEntry(key, nil); err != nil {
		return err
	}
	t.note(Change{Key: bytes.Clone(key), Deleted: true})
	return t.batch.Delete(key, nil)
}

func (t *pebbleTx) note(c Change) {
	t.changes = append(t.changes, c)
	t.bytes += len(c.Key) + len(c.Value)
}

func checkEntry(key, value []byte) error {
	switch {
	case len(key) == 0 || key[0] == revisionKey[0]:
		return fmt.Errorf("meta: key %q is reserved", key)
	case len(key) > MaxKeyBytes || len(value) > MaxValueBytes:
		return fmt.Errorf("%w: key of %d and value of %d bytes, at most %d and %d", ErrTooLarge,
			len(key), len(value), MaxKeyBytes, MaxValueBytes)
	}
	return nil
}

// pebbleLog hands pebble's messages to slog.
type pebbleLog struct{ l *slog.Logger }

func (p pebbleLog) Infof(format string, args ...any) {
	p.l.Debug(fmt.Sprintf(format, args...), "source", "pebble")
}

func (p pebbleLog) Errorf(format string, args ...any) {
	p.l.Warn(fmt.Sprintf(format, args...), "source", "pebble")
}

// Fatalf is called when pebble cannot go on, for example when its log cannot be written. It must
// not return: what follows in pebble would acknowledge a commit that is not durable. In a commit
// the panic becomes ErrFailed; in pebble's own goroutines it ends the process.
func (p pebbleLog) Fatalf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	p.l.Error(text, "source", "pebble")
	panic("meta: pebble cannot continue: " + text)
}
