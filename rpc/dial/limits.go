package dial

import "time"

const (
	// RetryAfter is how long an address that was not to be had over RDMA is dialled over TCP
	// without trying.
	RetryAfter = 30 * time.Second
	// rememberedMax bounds the addresses that are remembered; beyond it the oldest is forgotten.
	rememberedMax = 4096
	// tryTime bounds an attempt over RDMA in mode Auto, beside the time-out of the dial, which TCP
	// needs if it fails. A node that is starting on a busy machine takes long to make a queue pair,
	// and a connection that falls back stays with TCP. tryShare says which part of the time to the
	// caller's deadline the attempt may take.
	tryTime  = 1500 * time.Millisecond
	tryShare = 2
	// BreaksMax is how many queue pairs of an address may break within breakSoon of being made, one
	// after the other, before it is dialled over TCP.
	BreaksMax = 3
	breakSoon = 10 * time.Second
	// keyMin and keyMax bound a key file in bytes, without white space at its end.
	keyMin = 32
	keyMax = 4096
)
