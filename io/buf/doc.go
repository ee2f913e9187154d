// Package buf hands out aligned, reference-counted buffers from one off-heap arena.
//
// A payload lands once in such a buffer and that same memory goes to the log, to the sockets
// and to the chunk file: every buffer starts on a 4 KiB border (direct I/O needs it) and lies
// in the arena that a ring or a network card has registered.
//
// Promises:
//   - Get and Release allocate nothing on the Go heap once a slab has been used once, never
//     block, and may be called from any goroutine.
//   - The memory of a buffer does not move and is not handed out again before the last
//     reference is released.
//   - The arena never grows: Get fails with ErrExhausted instead. Callers turn that into
//     back-pressure.
//
// Limits: a buffer is 1 byte to MaxSize. Sizes are rounded up to a class (4 KiB, 8 KiB, ...,
// 2 MiB), so up to half of a buffer can be slack. The arena is cut into 2 MiB slabs, a slab
// serves one class at a time and changes class only while it is empty. An arena of
// fewer slabs than classes in use (20 MiB for all ten) fills early by fragmentation.
//
// Failure: releasing or retaining a buffer that is not held panics, because memory that the
// kernel still writes to would otherwise be reused. Under the build tag "invariants" the
// content of a released buffer is overwritten with 0xCC, so late readers are seen by their
// checksums. Close names the number of buffers not given back.
//
//	pool, err := buf.NewPool(buf.Config{Bytes: 64 << 20})
//	b, err := pool.Get(8192)      // one reference, content undefined
//	n, err := file.ReadAt(b.Bytes(), 0)
//	b.Retain()                    // a second owner
//	b.Release()
//	b.Release()                   // the last one returns it to the pool
//	err = pool.Close()
package buf
