package hot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// BlockSize is what is written and read at a time, in bytes.
const BlockSize = 4096

// Errors of Start, Judge and Read, tested with errors.Is.
var (
	// ErrTorn: a block is not all of one write, or is of another block.
	ErrTorn = errors.New("hot: a block is torn or misplaced")
	// ErrForeign: the volume has other content than that of such clients.
	ErrForeign = errors.New("hot: the volume has content of somebody else")
)

// Stamp fills a block with its number and a version, 16 bytes after 16.
func Stamp(block []byte, number, version uint64) {
	for i := 0; i+16 <= len(block); i += 16 {
		binary.LittleEndian.PutUint64(block[i:], number)
		binary.LittleEndian.PutUint64(block[i+8:], version)
	}
}

// Read returns the version of a stamped block; one that was never written has version 0. It fails
// with ErrTorn.
func Read(block []byte, number uint64) (version uint64, err error) {
	version = binary.LittleEndian.Uint64(block[8:])
	want := make([]byte, len(block))
	if version != 0 {
		Stamp(want, number, version)
	}
	if !bytes.Equal(block, want) {
		return 0, fmt.Errorf("%w: block %d begins % x", ErrTorn, number, block[:32])
	}
	return version, nil
}
