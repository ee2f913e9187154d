package meta

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Feed gives a backup's records, in the order of their keys.
type Feed func(add func(key, value []byte) error) error

// CreateBackup writes a backup file: beside its name first, made durable, read back whole, and then
// renamed, so that under the name there is a whole backup or nothing. A file that is there already
// is ErrExists and stays as it is. Of info the counts and the checksum are filled in.
func CreateBackup(path string, info Backup, feed Feed) (made Backup, err error) {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return made, fmt.Errorf("%w: %s is there already: choose another name; a backup replaces "+
			"none", ErrExists, path)
	}
	beside := path + ".tmp"
	file, err := os.OpenFile(beside, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return made, fmt.Errorf("meta: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(beside) // a rest that stays is written over by the next
		}
	}()
	made, err = writeBackup(file, info, feed)
	if err == nil {
		err = verifyBackup(file, made)
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return made, err
	}
	if err := os.Rename(beside, path); err != nil {
		return made, fmt.Errorf("meta: %w", err)
	}
	return made, syncParent(path)
}

func writeBackup(file *os.File, info Backup, feed Feed) (Backup, error) {
	out := bufio.NewWriterSize(file, backupPartBytes)
	w, err := newBackupWriter(out, info)
	if err == nil {
		err = feed(w.add)
	}
	if err != nil {
		return info, err
	}
	made, err := w.end()
	if err = errors.Join(err, out.Flush(), file.Sync()); err != nil {
		return made, fmt.Errorf("meta: write backup: %w", err)
	}
	return made, nil
}

// verifyBackup reads what was written.
func verifyBackup(file *os.File, made Backup) error {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("meta: %w", err)
	}
	there, err := readBackup(bufio.NewReaderSize(file, backupPartBytes),
		func([]byte, []byte) error { return nil })
	if err != nil {
		return fmt.Errorf("meta: reading it back: %w", err)
	}
	if there.SHA256 != made.SHA256 || there.Records != made.Records {
		return fmt.Errorf("%w: read back it is not what was written", ErrBackup)
	}
	return nil
}

func syncParent(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("meta: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("meta: %w", err)
	}
	return nil
}

// BackUp writes one consistent snapshot of a store's metadata to a file; see CreateBackup.
func BackUp(ctx context.Context, from Store, path string, now time.Time) (made Backup, err error) {
	cluster, err := clusterOf(ctx, from)
	if err != nil {
		return made, err
	}
	err = from.View(ctx, func(r Reader) error {
		info := Backup{ClusterID: cluster, Taken: now}
		if info.Revision, err = r.Revision(); err != nil {
			return err
		}
		made, err = CreateBackup(path, info, func(add func(k, v []byte) error) error {
			return EachRecord(r, nil, add)
		})
		return err
	})
	return made, err
}

// EachRecord calls fn for every key behind the key after (nil: from the first), but for those that
// are the KV's own, in order.
func EachRecord(r Reader, after []byte, fn func(key, value []byte) error) error {
	from := []byte{1}
	if after != nil {
		from = append(append(from[:0], after...), 0)
	}
	return r.Scan(nil, from, 0, fn)
}

// CheckBackup reads a backup file from end to end.
func CheckBackup(path string) (Backup, error) {
	return eachOf(path, func([]byte, []byte) error { return nil })
}

func eachOf(path string, fn func(key, value []byte) error) (Backup, error) {
	file, err := os.Open(path)
	if err != nil {
		return Backup{}, fmt.Errorf("meta: %w", err)
	}
	defer file.Close()
	b, err := readBackup(bufio.NewReaderSize(file, backupPartBytes), fn)
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return b, err
}
