package disk

import (
	"log/slog"
	"os"
)

// Open opens the disk that a path names: a directory, a block device, or a large file in place of
// one; see OpenDir and OpenDevice.
func Open(path string, cfg Config) (Disk, error) {
	if isDir(path) {
		return OpenDir(path, cfg)
	}
	return OpenDevice(path, cfg)
}

// OpenReadOnly is Open to look; see OpenDirReadOnly. A device is left as it is too, and what
// opening it would mend stays. Of a block device, but not of a file, only one can look at a time.
func OpenReadOnly(path string, cfg ReadOnlyConfig) (Disk, error) {
	if isDir(path) {
		return OpenDirReadOnly(path, cfg)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	d, err := openDevice(path, Config{Logger: cfg.Logger, NoURing: true},
		access{look: true, shared: cfg.Shared})
	if err != nil {
		return nil, err
	}
	return ReadOnly(d), nil
}

func isDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}
