// Package verbs is what the RDMA transport needs of a network card: registered memory, windows
// into it, queue pairs of the reliable connected kind and their completions.
//
// It is a seam with two implementations: the real one (build tag rdma, libibverbs and librdmacm
// through cgo) and rpc/rdma/fake, a card in this process that can be told to fail. Both obey what
// stands here, and one set of tests holds both to it.
//
// # What every implementation promises
//
// Work posted to one queue pair is done in order; between queue pairs there is no order. Each
// signalled request gives one completion, and so does each that fails, signalled or not. After the
// first failure the queue pair is broken: whatever is posted on it, then or later, completes with
// Flushed. Memory named by a request belongs to the card until the request has completed or a later
// one of its queue pair has; that of a receive, until it completed or the queue pair is closed.
//
// A peer reads or writes memory of this side only through a Window that is bound to it, with the
// rights of the window, on the queue pair on which it was bound, until it is invalidated. A request
// for anything else breaks the requester's queue pair with RemoteAccess and changes nothing here.
//
// # Limits
//
// Caps tells what a card can do. Posting more than a queue was made for gives ErrFull and takes
// nothing. A completion queue that is too small for what is posted on its queue pairs is a bug of
// the caller: it is sized for all of them.
package verbs
