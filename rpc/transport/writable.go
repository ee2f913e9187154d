package transport

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// writable tells when full sockets take bytes again. The event loops cannot:
// gnet keeps that event to itself and copies what a socket did not take into a
// buffer of its own, without bound. Here the bytes stay where they are.
//
// A socket is armed for one event at a time, by its connection's id and not by
// its descriptor: a late event of a closed connection then finds nobody. The
// kernel forgets a registration when the socket is closed.
type writable struct {
	epoll, stop int
	ready       func(id uint64)
}

// stopID is the id of the event that ends run; connections count from 1.
const stopID = 0

func newWritable(ready func(id uint64)) (*writable, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("transport: epoll_create1: %w", err)
	}
	stop, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		_ = unix.Close(epoll)
		return nil, fmt.Errorf("transport: eventfd: %w", err)
	}
	w := &writable{epoll: epoll, stop: stop, ready: ready}
	ev := eventFor(stopID, unix.EPOLLIN)
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, stop, &ev); err != nil {
		w.free()
		return nil, fmt.Errorf("transport: epoll_ctl: %w", err)
	}
	return w, nil
}

func eventFor(id uint64, events uint32) unix.EpollEvent {
	return unix.EpollEvent{Events: events, Fd: int32(uint32(id)), Pad: int32(uint32(id >> 32))}
}

func idOf(ev *unix.EpollEvent) uint64 {
	return uint64(uint32(ev.Pad))<<32 | uint64(uint32(ev.Fd))
}

// arm asks for one event of a socket; known tells that it was armed before.
func (w *writable) arm(fd int, id uint64, known bool) error {
	ev := eventFor(id, unix.EPOLLOUT|unix.EPOLLONESHOT)
	ctl := unix.EPOLL_CTL_ADD
	if known {
		ctl = unix.EPOLL_CTL_MOD
	}
	if err := unix.EpollCtl(w.epoll, ctl, fd, &ev); err != nil {
		return fmt.Errorf("transport: epoll_ctl: %w", err)
	}
	return nil
}

// run calls ready for each event until end.
func (w *writable) run() {
	var events [64]unix.EpollEvent
	for {
		n, err := unix.EpollWait(w.epoll, events[:], -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			panic(fmt.Sprintf("transport: epoll_wait on an own descriptor: %v", err))
		}
		for i := range events[:n] {
			id := idOf(&events[i])
			if id == stopID {
				return
			}
			w.ready(id)
		}
	}
}

// end makes run return.
func (w *writable) end() {
	var one [8]byte
	one[0] = 1
	_, _ = unix.Write(w.stop, one[:])
}

func (w *writable) free() {
	_ = unix.Close(w.stop)
	_ = unix.Close(w.epoll)
}
