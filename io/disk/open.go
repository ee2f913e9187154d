package disk

import "log/slog"

// Config of a real disk.
type Config struct {
	// Arena is memory to register with the ring (buf.Pool.Arena); may be nil.
	Arena []byte
	// Logger gets what an operator should know; nil: slog.Default().
	Logger *slog.Logger
	// NoURing forces worker goroutines in place of io_uring.
	NoURing bool
}

// OpenDir opens a directory as a disk and locks it. ErrLocked when another process has it.
func OpenDir(path string, cfg Config) (Disk, error) {
	panic("disk: OpenDir is not built yet")
}
