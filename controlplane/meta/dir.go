package meta

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A metadata directory:
//
//	FORMAT   one line of text, written before anything else:
//
//	         "ashlar control plane metadata, format 1\n"
//
//	MOVED    one line of text, where the metadata are that lay here; see Migrate
//
//	db/      the pebble database
//
// The line is what makes the directory ours. It is checked before pebble may touch the directory,
// so that a foreign or newer one is left as it was.
const (
	// FormatVersion is the version of directory, keys and records that this program writes.
	FormatVersion = 1

	formatFile   = "FORMAT"
	formatPrefix = "ashlar control plane metadata, format "
	dbDir        = "db"
)

// formatMax bounds what is read of a file that may be anything.
const formatMax = 256

// movedMax bounds what is read of the file MOVED.
const movedMax = 4096

// claim makes sure that dir is ours or empty, and marks an empty one.
func claim(f vfs.FS, dir string) error {
	names, err := f.List(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := f.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("meta: create %s: %w", dir, err)
		}
	case err != nil:
		return fmt.Errorf("meta: list %s: %w", dir, err)
	}
	for _, name := range names {
		if name == formatFile {
			return checkFormat(f, dir)
		}
	}
	for _, name := range names {
		// A fresh file system has lost+found; a start that was cut off leaves the temporary file.
		if name != "lost+found" && name != formatFile+".tmp" {
			return fmt.Errorf("%w: %s holds %q but no %s file; choose an empty directory",
				ErrForeign, dir, name, formatFile)
		}
	}
	return writeFormat(f, dir)
}

// CheckDir says why a directory holds no metadata that this program can use; it makes nothing.
func CheckDir(dir string) error {
	if err := checkFormat(vfs.Default, dir); err != nil {
		return fmt.Errorf("%w; name the directory of a control plane", err)
	}
	return nil
}

func checkFormat(f vfs.FS, dir string) error {
	path := f.PathJoin(dir, formatFile)
	file, err := f.Open(path)
	if err != nil {
		return fmt.Errorf("meta: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, formatMax))
	if err != nil {
		return fmt.Errorf("meta: read %s: %w", path, err)
	}
	version, err := parseFormat(string(text))
	if err != nil {
		return fmt.Errorf("%w: %s", err, path)
	}
	return checkVersion(version, path)
}

func parseFormat(text string) (uint64, error) {
	rest, ok := strings.CutPrefix(text, formatPrefix)
	rest, end := strings.CutSuffix(rest, "\n")
	version, err := strconv.ParseUint(rest, 10, 32)
	if !ok || !end || err != nil || version == 0 {
		return 0, fmt.Errorf("%w: %q is not the line of a metadata directory", ErrForeign, text)
	}
	return version, nil
}

func checkVersion(version uint64, where string) error {
	if version > FormatVersion {
		return fmt.Errorf("%w: %s has format %d, this program knows formats up to %d; run a newer "+
			"program", ErrVersion, where, version, FormatVersion)
	}
	return nil
}

// writeFormat makes the file appear whole and durably.
func writeFormat(f vfs.FS, dir string) error {
	path := f.PathJoin(dir, formatFile)
	file, err := f.Create(path+".tmp", vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("meta: %w", err)
	}
	_, err = fmt.Fprintf(file, "%s%d\n", formatPrefix, FormatVersion)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = f.Rename(path+".tmp", path)
	}
	if err == nil {
		err = syncDir(f, dir)
	}
	if err == nil {
		err = syncDir(f, f.PathDir(dir))
	}
	if err != nil {
		return fmt.Errorf("meta: write %s: %w", path, err)
	}
	return nil
}

func syncDir(f vfs.FS, dir string) error {
	d, err := f.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
