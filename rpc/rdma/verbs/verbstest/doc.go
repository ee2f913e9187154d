// Package verbstest holds an implementation of rpc/rdma/verbs to what that package promises.
//
//	verbstest.Run(t, provider, addr)
//
// The provider must have a card with the address, which reaches itself. Queue pairs are made
// between two openings of it. Time is never judged but by limits that only something stuck passes.
package verbstest
