package meta

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"log/slog"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Metadata move from a directory to etcd in an order in which never both can be used: everything
// but the identity is copied and compared; the directory is marked as moved; the identity follows.
// A move that was broken off is begun again by the same call, or taken back by Unmove.

// movedFile marks a directory whose metadata are elsewhere; its text says where.
const movedFile = "MOVED"

// keyMoving is in a KV while metadata move into it: the cluster's id. Its first byte is no table's.
var keyMoving = []byte("moving")

// migrateKeys is how many keys one transaction of a move has, which etcd takes as they are.
const migrateKeys = etcdOps - 1

// Moved says what a move moved.
type Moved struct {
	ClusterID string
	Keys      uint64
	Bytes     uint64 // of keys and values
	SHA256    string // of all keys and values in order, each with its length before it, 8 bytes
}

// Migrate moves the metadata of the control plane directory dir, which nobody may have open, into
// a KV, which must hold nothing: else it is ErrExists. where names the KV in the mark and in
// errors. What was copied is read back and compared before the directory is marked.
func Migrate(ctx context.Context, dir string, to KV, where string, log *slog.Logger) (
	m Moved, err error,
) {
	// Opening would make what is not there.
	if err := CheckDir(dir); err != nil {
		return m, err
	}
	from, err := openPebble(dir, PebbleConfig{Logger: log}, true)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	moved, err := readMoved(vfs.Default, dir)
	if err != nil {
		return m, err
	}
	if moved != "" && moved != movedText(where) {
		return m, movedError(dir, moved)
	}
	if m.ClusterID, err = clusterOf(ctx, from); err != nil {
		return m, err
	}
	if err := beginMove(ctx, to, m.ClusterID, where); err != nil {
		return m, err
	}
	if err := copyAll(ctx, from, to); err != nil {
		return m, err
	}
	if err := compare(ctx, from, to, &m); err != nil {
		return m, err
	}
	if err := mark(vfs.Default, dir, where); err != nil {
		return m, err
	}
	return m, endMove(ctx, from, to)
}

// Unmove takes the mark of Migrate off a directory. What lies in the KV stays as it is: whoever
// calls this makes sure that no control plane uses that any more.
func Unmove(dir string) error {
	f := vfs.Default
	moved, err := readMoved(f, dir)
	if err != nil {
		return err
	}
	if moved == "" {
		return fmt.Errorf("%w: the metadata in %s were not moved", ErrNotFound, dir)
	}
	if err := checkFormat(f, dir); err != nil {
		return err
	}
	if err := f.Remove(f.PathJoin(dir, movedFile)); err != nil {
		return fmt.Errorf("meta: %w", err)
	}
	return syncDir(f, dir)
}

// clusterOf is the identity of metadata that have one.
func clusterOf(ctx context.Context, kv Store) (id string, err error) {
	err = kv.View(ctx, func(r Reader) error {
		text, err := r.Get(keyClusterID)
		if errors.Is(err, ErrNotFound) {
			return fmt.Errorf("%w: there is no cluster in these metadata", ErrNotFound)
		}
		id = string(text)
		return err
	})
	return id, err
}

// beginMove makes sure that the target holds nothing, or what an earlier move of the same cluster
// left, and empties it.
func beginMove(ctx context.Context, to Store, cluster, where string) error {
	err := to.Update(ctx, func(tx Tx) error {
		moving, err := tx.Get(keyMoving)
		switch {
		case errors.Is(err, ErrNotFound):
			err = tx.Scan(nil, []byte{1}, 1, func(k, _ []byte) error {
				return fmt.Errorf("%w: %s holds %q: choose an empty prefix, or remove what is "+
					"there", ErrExists, where, k)
			})
		case err == nil && string(moving) != cluster:
			err = fmt.Errorf("%w: %s holds a part of cluster %s", ErrExists, where, moving)
		}
		return errors.Join(err, tx.Put(keyMoving, []byte(cluster)))
	})
	for n := 1; n > 0 && err == nil; {
		err = to.Update(ctx, func(tx Tx) error {
			n = 0
			var old [][]byte
			err := tx.Scan(nil, []byte{1}, migrateKeys, func(k, _ []byte) error {
				if !bytes.Equal(k, keyMoving) {
					old = append(old, bytes.Clone(k))
				}
				return nil
			})
			for _, k := range old {
				err = errors.Join(err, tx.Delete(k))
				n++
			}
			return err
		})
	}
	return err
}

// isIdentity tells the keys that make metadata usable; they come last.
func isIdentity(k []byte) bool {
	return bytes.Equal(k, keyClusterID) || bytes.Equal(k, keyFormat)
}

func copyAll(ctx context.Context, from, to Store) error {
	return from.View(ctx, func(r Reader) error {
		return fill(ctx, to, func(add func(k, v []byte) error) error {
			return EachRecord(r, nil, add)
		})
	})
}

// fill writes all records but the identity.
func fill(ctx context.Context, to Store, feed Feed) error {
	var batch []write
	size := 0
	flush := func() error {
		err := to.Update(ctx, func(tx Tx) (err error) {
			for _, w := range batch {
				err = errors.Join(err, tx.Put(w.key, w.value))
			}
			return err
		})
		batch, size = batch[:0], 0
		return err
	}
	err := feed(func(k, v []byte) error {
		if isIdentity(k) {
			return nil
		}
		w := write{key: bytes.Clone(k), value: bytes.Clone(v)}
		if len(batch) > 0 && (len(batch) == migrateKeys || size+w.size() > etcdBytes) {
			if err := flush(); err != nil {
				return err
			}
		}
		batch, size = append(batch, w), size+w.size()
		return nil
	})
	if err == nil && len(batch) > 0 {
		err = flush()
	}
	return err
}

// compare reads both sides and holds count and checksum against each other.
func compare(ctx context.Context, from, to Store, m *Moved) error {
	if err := m.read(ctx, from); err != nil {
		return err
	}
	return m.compareWith(ctx, to)
}

// compareWith reads what was written and holds it against what was to be.
func (m *Moved) compareWith(ctx context.Context, to Store) error {
	there := Moved{ClusterID: m.ClusterID}
	if err := there.read(ctx, to); err != nil {
		return err
	}
	if there != *m {
		return fmt.Errorf("%w: the copy has %d keys with sha256 %s, the original %d with %s",
			ErrCorrupt, there.Keys, there.SHA256, m.Keys, m.SHA256)
	}
	return nil
}

func (m *Moved) read(ctx context.Context, s Store) error {
	return s.View(ctx, func(r Reader) error {
		return m.count(func(add func(k, v []byte) error) error { return EachRecord(r, nil, add) })
	})
}

// count takes all records but the identity.
func (m *Moved) count(feed Feed) error {
	sum := sha256.New()
	err := feed(func(k, v []byte) error {
		if isIdentity(k) || bytes.Equal(k, keyMoving) {
			return nil
		}
		m.Keys++
		m.Bytes += uint64(len(k) + len(v))
		addTo(sum, k)
		addTo(sum, v)
		return nil
	})
	m.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return err
}

func addTo(sum hash.Hash, b []byte) {
	sum.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
	sum.Write(b)
}

// endMove gives the target the identity, by which it can be used.
func endMove(ctx context.Context, from, to Store) error {
	return from.View(ctx, func(r Reader) error {
		id, err1 := r.Get(keyClusterID)
		format, err2 := r.Get(keyFormat)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		return to.Update(ctx, func(tx Tx) error {
			return errors.Join(tx.Put(keyClusterID, id), tx.Put(keyFormat, format),
				tx.Delete(keyMoving))
		})
	})
}

func movedText(where string) string {
	return "ashlar control plane metadata moved to " + where + "\n"
}

// mark makes the file appear whole and durably.
func mark(f vfs.FS, dir, where string) error {
	path := f.PathJoin(dir, movedFile)
	file, err := f.Create(path+".tmp", vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("meta: %w", err)
	}
	_, err = io.WriteString(file, movedText(where))
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = f.Rename(path+".tmp", path)
	}
	if err == nil {
		err = syncDir(f, dir)
	}
	if err != nil {
		return fmt.Errorf("meta: mark %s as moved: %w", dir, err)
	}
	return nil
}

// readMoved returns the text of the mark, or nothing.
func readMoved(f vfs.FS, dir string) (string, error) {
	file, err := f.Open(f.PathJoin(dir, movedFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("meta: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, movedMax))
	if err != nil {
		return "", fmt.Errorf("meta: read %s: %w", movedFile, err)
	}
	if len(text) == 0 {
		text = []byte("empty\n")
	}
	return string(text), nil
}

func movedError(dir, text string) error {
	return fmt.Errorf("%w: %s: %q; give the control plane those endpoints in its settings, or "+
		"take the move back with `ashlar control migrate --undo --data %[2]s` when no control "+
		"plane uses the copy", ErrMoved, dir, bytes.TrimSpace([]byte(text)))
}
