package meta

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Metadata are restored in the order of a move (migrate.go): everything but the identity is written
// and read back, the line is drawn (restored.go), and with the identity they can be used. A restore
// that was broken off is begun again by the same call.

// Restoration says what was restored.
type Restoration struct {
	Backup   Backup // zero where there was none
	Restored Restored
	Keys     uint64
	SHA256   string // of the records as they are read back, as in Moved
}

// Restore puts a backup into a KV, which must hold nothing: else it is ErrExists. The file is read
// whole before anything is written, and what was written is read back and compared. where names the
// KV in errors.
func Restore(ctx context.Context, path string, to KV, where string, now time.Time) (
	done Restoration, err error,
) {
	source, err := readSource(path)
	done.Backup = source.backup
	if err != nil {
		return done, err
	}
	if err := beginMove(ctx, to, done.Backup.ClusterID, where); err != nil {
		return done, err
	}
	err = fill(ctx, to, func(add func(k, v []byte) error) error {
		_, err := eachOf(path, add)
		return err
	})
	if err == nil {
		err = source.holds.compareWith(ctx, to)
	}
	if err != nil {
		return done, err
	}
	done.Keys, done.SHA256 = source.holds.Keys, source.holds.SHA256
	done.Restored, err = endRestore(ctx, to, done.Backup, now, source.identity[string(keyFormat)])
	return done, err
}

// source is a backup that was read to its end.
type source struct {
	backup   Backup
	holds    Moved
	identity map[string][]byte
}

func readSource(path string) (s source, err error) {
	copysets := 0
	s.identity = map[string][]byte{}
	err = s.holds.count(func(add func(k, v []byte) error) error {
		s.backup, err = eachOf(path, func(k, v []byte) error {
			if isIdentity(k) {
				s.identity[string(k)] = bytes.Clone(v)
			}
			if bytes.HasPrefix(k, Copysets.Prefix(nil)) {
				copysets++
			}
			return add(k, v)
		})
		return err
	})
	s.holds.ClusterID = s.backup.ClusterID
	if err == nil {
		err = checkRestorable(path, s.backup.ClusterID, s.identity, copysets)
	}
	return s, err
}

func checkRestorable(path, cluster string, identity map[string][]byte, copysets int) error {
	version, err := parseFormat(string(identity[string(keyFormat)]))
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrBackup, path, err)
	}
	if err := checkVersion(version, path); err != nil {
		return err
	}
	switch {
	case string(identity[string(keyClusterID)]) != cluster:
		return fmt.Errorf("%w: %s: its header names cluster %s, its records %.64q", ErrBackup, path,
			cluster, identity[string(keyClusterID)])
	case copysets == 0:
		return fmt.Errorf("%w: %s is from before the cluster had copysets: there is nothing in it "+
			"to restore; `ashlar control restore --cluster %s` begins with what the nodes have",
			ErrBackup, path, cluster)
	}
	return nil
}

// RestoreNothing makes metadata for a cluster that has lost its own: they hold its identity, and
// everything else has to come from the nodes.
func RestoreNothing(ctx context.Context, cluster string, to KV, where string, now time.Time) (
	done Restoration, err error,
) {
	if id, err := uuid.Parse(cluster); err != nil || id.String() != cluster {
		return done, fmt.Errorf("%w: cluster id %q: want a uuid, as the file STORE of every store "+
			"has it as cluster_id", ErrForeign, cluster)
	}
	if err := beginMove(ctx, to, cluster, where); err != nil {
		return done, err
	}
	done.Restored, err = endRestore(ctx, to, Backup{ClusterID: cluster}, now,
		fmt.Appendf(nil, "%s%d\n", formatPrefix, FormatVersion))
	return done, err
}

// endRestore draws the line and gives the target its identity, as one.
func endRestore(ctx context.Context, to Store, from Backup, now time.Time, format []byte) (
	mark Restored, err error,
) {
	err = to.Update(ctx, func(tx Tx) error {
		mark = Restored{TimeNS: now.UnixNano(), Revision: from.Revision}
		text := "the metadata were made anew with nothing of the old ones; nodes and copysets " +
			"come from what the nodes report"
		if !from.Taken.IsZero() {
			mark.TakenNS = from.Taken.UnixNano()
			text = fmt.Sprintf("the metadata were restored from a backup of %s; what came after "+
				"it is unknown", from.Taken.UTC().Format(time.RFC3339))
		}
		if mark, err = drawLine(tx, mark); err != nil {
			return err
		}
		told := &Event{EventID: mark.Floor, TimeNS: now.UnixNano(), Severity: "warning",
			Kind: "metadata-restored", Object: "cluster", Text: text}
		return errors.Join(
			Events.Put(tx, ID(told.EventID), told),
			tx.Put(keyClusterID, []byte(from.ClusterID)), tx.Put(keyFormat, format),
			tx.Delete(keyMoving))
	})
	return mark, err
}
