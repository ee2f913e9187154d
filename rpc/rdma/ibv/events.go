//go:build rdma && cgo && linux

package ibv

// #include "card.h"
import "C"

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// events reads a file of a library in a goroutine of its own, without holding a thread.
type events struct {
	file *os.File
	raw  syscall.RawConn
	done chan struct{}
}

// waitable makes a file of Go of a descriptor that a library keeps: a second descriptor of the same
// open file, so that each closes its own.
func waitable(fd int, name string) (*os.File, syscall.RawConn, error) {
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("ibv: %s: %w", name, err)
	}
	if err := unix.SetNonblock(own, true); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("ibv: %s: %w", name, err), unix.Close(own))
	}
	file := os.NewFile(uintptr(own), name)
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("ibv: %s: %w", name, err), file.Close())
	}
	return file, raw, nil
}

// listen calls take whenever there may be something to take, until it fails with EAGAIN.
func listen(fd int, name string, take func() error) (*events, error) {
	file, raw, err := waitable(fd, name)
	if err != nil {
		return nil, err
	}
	e := &events{file: file, raw: raw, done: make(chan struct{})}
	go func() {
		defer close(e.done)
		_ = raw.Read(func(uintptr) bool {
			for {
				if err := take(); errors.Is(err, syscall.EAGAIN) {
					return false
				} else if err != nil && !errors.Is(err, syscall.EINTR) {
					return true // the card is gone, and with it what could happen to it
				}
			}
		})
	}()
	return e, nil
}

// stop returns when take is not called any more.
func (e *events) stop() {
	_ = e.file.Close()
	<-e.done
}

// faults hears of the failures of one card, for all that have it open.
type faults struct {
	handle *C.struct_ibv_context
	events *events

	mu    sync.Mutex
	cards map[*card]bool
}

var (
	watchedMu sync.Mutex
	watched   = map[*C.struct_ibv_context]*faults{}
)

// watch begins to tell c of faults.
func watch(c *card) (*faults, error) {
	watchedMu.Lock()
	defer watchedMu.Unlock()
	f := watched[c.handle]
	if f == nil {
		f = &faults{handle: c.handle, cards: map[*card]bool{}}
		var err error
		if f.events, err = listen(int(c.handle.async_fd), "faults", f.take); err != nil {
			return nil, err
		}
		watched[c.handle] = f
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cards[c] = true
	return f, nil
}

func (f *faults) leave(c *card) {
	watchedMu.Lock()
	defer watchedMu.Unlock()
	f.mu.Lock()
	delete(f.cards, c)
	empty := len(f.cards) == 0
	f.mu.Unlock()
	if empty {
		delete(watched, f.handle)
		f.events.stop()
	}
}

// take hands one fault to the queue pairs that it breaks.
func (f *faults) take() error {
	var e C.struct_card_fault
	if code := C.card_fault(f.handle, &e); code != 0 {
		return syscall.Errno(code)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.cards {
		switch e.event {
		case C.IBV_EVENT_DEVICE_FATAL:
			c.everyPair((*pair).lost)
		case C.IBV_EVENT_QP_LAST_WQE_REACHED:
			c.onePair(uint32(e.qp), (*pair).emptied)
		case C.IBV_EVENT_QP_FATAL, C.IBV_EVENT_QP_REQ_ERR, C.IBV_EVENT_QP_ACCESS_ERR:
			c.onePair(uint32(e.qp), (*pair).lost)
		}
	}
	return nil
}

func (c *card) everyPair(f func(*pair)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.pairs {
		f(p)
	}
}

func (c *card) onePair(number uint32, f func(*pair)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.pairs[number]; p != nil {
		f(p)
	}
}
