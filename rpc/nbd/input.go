package nbd

import (
	"fmt"
	"io"
)

// input reads a connection through a fixed buffer, so that a burst of small messages costs one
// system call, and lets large payloads go past the buffer.
type input struct {
	r       io.Reader
	buf     []byte
	at, end int // buf[at:end] is read and not used
}

func newInput(r io.Reader) *input { return &input{r: r, buf: make([]byte, readBuffer)} }

func (in *input) buffered() int { return in.end - in.at }
func (in *input) peek() []byte  { return in.buf[in.at:in.end] }
func (in *input) skip(n int)    { in.at += n }

// fill reads until n bytes are buffered; n is at most the size of the buffer. io.EOF means that
// the stream ended with nothing buffered, io.ErrUnexpectedEOF that it ended in the middle.
func (in *input) fill(n int) error {
	if in.at > 0 && (in.at == in.end || in.at+n > len(in.buf)) {
		in.end = copy(in.buf, in.buf[in.at:in.end])
		in.at = 0
	}
	if n > len(in.buf) {
		return fmt.Errorf("nbd: message of %d bytes does not fit the input buffer", n)
	}
	for in.buffered() < n {
		got, err := in.r.Read(in.buf[in.end:])
		in.end += got
		if err != nil && in.buffered() < n {
			if err == io.EOF && in.buffered() > 0 {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// read fills p with what comes next.
func (in *input) read(p []byte) error {
	n := copy(p, in.peek())
	in.skip(n)
	p = p[n:]
	for len(p) > 0 && len(p) < directRead {
		if err := in.fill(1); err != nil {
			return noEOF(err)
		}
		n = copy(p, in.peek())
		in.skip(n)
		p = p[n:]
	}
	if len(p) == 0 {
		return nil
	}
	_, err := io.ReadFull(in.r, p)
	return noEOF(err)
}

// discard drops the next n bytes.
func (in *input) discard(n int64) error {
	for n > 0 {
		if in.buffered() == 0 {
			if err := in.fill(1); err != nil {
				return noEOF(err)
			}
		}
		drop := int(min(n, int64(in.buffered())))
		in.skip(drop)
		n -= int64(drop)
	}
	return nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
