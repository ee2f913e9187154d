package wal

import "github.com/ashlar-storage/ashlar/io/disk"

// unreadable fills blocks that the device cannot read back. It is no descriptor, and payload
// of it fails its crc unless it was that very payload.
const unreadable = 0xDB

// window reads a file front to back in large pieces through one buffer.
type window struct {
	file  disk.File
	limit int64 // bytes of the file that count, whole blocks
	ahead int   // bytes to read at a time
	buf   []byte
	off   int64 // file offset of buf[0]
	n     int   // bytes of buf that are filled
	total int64 // bytes read
	bad   int   // blocks that could not be read
}

// reset points the window at a file, keeping its buffer. ahead is how much to read at a time.
func (w *window) reset(f disk.File, limit int64, ahead int) {
	w.file, w.limit, w.ahead = f, min(limit, f.Size())/BlockSize*BlockSize, ahead
	w.off, w.n = 0, 0
}

// bytes returns n bytes at off, whole blocks both, or nil if the file ends before. They are
// valid until the next call. Going back is allowed and reads again.
func (w *window) bytes(off int64, n int) []byte {
	if n < 0 || off < 0 || off+int64(n) > w.limit {
		return nil
	}
	if off < w.off || off+int64(n) > w.off+int64(w.n) {
		w.fill(off, n)
	}
	at := int(off - w.off)
	return w.buf[at : at+n : at+n]
}

// fill reads ahead from off, at least n bytes, keeping what is there already.
func (w *window) fill(off int64, n int) {
	keep := 0
	if off >= w.off && off < w.off+int64(w.n) {
		keep = int(w.off) + w.n - int(off)
	}
	want := int(min(int64(keep+max(n-keep, w.ahead)), w.limit-off))
	source := w.buf[w.n-keep : w.n]
	if len(w.buf) < want {
		w.buf = alignedBytes(want)
	}
	copy(w.buf, source)
	w.off, w.n = off, want
	w.read(w.buf[keep:want], off+int64(keep))
}

// read fills p. A device error costs the blocks it concerns, not the piece.
func (w *window) read(p []byte, off int64) {
	w.total += int64(len(p))
	if _, err := w.file.ReadAt(p, off); err == nil {
		return
	}
	for len(p) > 0 {
		if _, err := w.file.ReadAt(p[:BlockSize], off); err != nil {
			w.bad++
			for i := range p[:BlockSize] {
				p[i] = unreadable
			}
		}
		p, off = p[BlockSize:], off+BlockSize
	}
}

// frame decodes the descriptor at off, if an intact one of this store lies there in its own
// place. The only error is ErrVersion.
func (w *window) frame(y layout, off int64, h *frameHeader) (desc []byte, err error) {
	n, ok := descriptorSize(w.bytes(off, BlockSize))
	if !ok {
		return nil, nil
	}
	desc = w.bytes(off, n)
	if desc == nil {
		return nil, nil
	}
	if err := h.parse(desc); err != nil {
		return nil, onlyVersion(err)
	}
	if h.store != y.store || h.at != y.lsn(h.seq, off) || off+h.bytes() > w.limit {
		return nil, nil
	}
	return desc, nil
}
