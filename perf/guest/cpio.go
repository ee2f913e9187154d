package guest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
)

// archive writes an initial file system as the kernel reads it: the cpio format "newc", in which
// every header is 13 numbers of 8 hexadecimal digits behind a magic, and everything is padded to 4
// bytes.
type archive struct {
	w    *bufio.Writer
	node int
	dirs []string
}

func newArchive(w io.Writer) *archive { return &archive{w: bufio.NewWriterSize(w, 1<<20)} }

const (
	modeDir  = 0o040755
	modeFile = 0o100755
)

// file adds a file of this machine under a name without a leading slash, and the folders above it.
func (a *archive) file(name, from string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	return a.add(name, st.Size(), f)
}

func (a *archive) text(name, text string) error {
	return a.add(name, int64(len(text)), strings.NewReader(text))
}

func (a *archive) add(name string, size int64, r io.Reader) error {
	if err := a.above(name); err != nil {
		return err
	}
	if err := a.header(name, modeFile, size); err != nil {
		return err
	}
	if _, err := io.CopyN(a.w, r, size); err != nil {
		return fmt.Errorf("guest: %s: %w", name, err)
	}
	return a.pad(size)
}

// above adds the folders of a name.
func (a *archive) above(name string) error {
	dir := path.Dir(name)
	if dir == "." || slices.Contains(a.dirs, dir) {
		return nil
	}
	if err := a.above(dir); err != nil {
		return err
	}
	a.dirs = append(a.dirs, dir)
	return a.header(dir, modeDir, 0)
}

func (a *archive) header(name string, mode uint32, size int64) error {
	a.node++
	format := "070701" + strings.Repeat("%08x", 13) + "%s\x00"
	if _, err := fmt.Fprintf(a.w, format, a.node, mode, 0, 0, 1, 0, size, 0, 0, 0, 0,
		len(name)+1, 0, name); err != nil {
		return err
	}
	const head = 6 + 13*8
	return a.pad(int64(head + len(name) + 1))
}

func (a *archive) pad(n int64) error {
	_, err := a.w.Write(make([]byte, (4-n%4)%4))
	return err
}

func (a *archive) close() error {
	if err := a.header("TRAILER!!!", 0, 0); err != nil {
		return err
	}
	return a.w.Flush()
}
