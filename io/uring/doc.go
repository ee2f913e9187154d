// Package uring is a thin io_uring for disks and zero-copy sends: raw system calls, no cgo.
//
// A Ring has two sides. The submission side (Next, Submit, RegisterArena) needs one lock of
// the caller's; the completion side (Reap, Wait) needs one goroutine at a time. The sides are
// independent of each other, so one goroutine may block in Wait while others submit.
//
//	ring, err := uring.Setup(uring.Config{Entries: 256})
//	err = ring.RegisterArena(pool.Arena())
//
//	lock()
//	if e := ring.Next(); e != nil { // nil: the queue is full, Submit and ask again
//		e.Read(fd, uring.Vec(p), off)
//		e.UserData = 7
//	}
//	_, err = ring.Submit()
//	unlock()
//
//	err = ring.Wait()
//	n := ring.Reap(cqes[:])
//
// Memory: the kernel uses the caller's buffers and iovec arrays until the completion is
// reaped. The entries hold them as plain numbers, so the caller must keep a Go reference to
// both, and both must be on the heap or off it altogether, never on a goroutine's stack.
//
// Threads: goroutines need not be locked to a thread (the ring is never set up for a single
// issuer). A goroutine that locked its thread must not end while it has operations in flight:
// the thread would end with it, and the kernel cancels a thread's operations.
//
// Limits: at most Entries operations between two Submits, at most CQEntries in flight; the
// caller counts (CQ tells the bound), for beyond it completions would wait in the kernel.
// Entries are clamped by the kernel to MaxEntries.
//
// Failure: Setup and Probe return an error that says why the kernel refuses. Submit passes on
// EAGAIN and EBUSY, after which the entries are still queued.
package uring
