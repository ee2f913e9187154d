// Package trace makes sense of what the probes of a cluster's processes tell: how long requests
// were where, and what made the slow ones slow. It decides and keeps no time, no file and no probe:
// events come in through a Span, a report comes out of it.
//
// # The parts of a request
//
// A request's stages (mark.Op) add up to its time on the leader. One of them, commit, is time in
// which other processes are at work, and a Span takes it apart with their events. A write is
// committed when the log of its leader has it and the logs of enough followers do. What came last
// decided: the leader's own log, or a follower's word. So the commit stage of a write is made of
//
//	log wait    until the log began to write it: an earlier write was under way
//	log write   of the log to the device, until it was durable
//	link        between the leader and the follower that decided: sent, received, taken up, and
//	            back with the answer
//	commit      the rest: what the leader needed to take notice
//
// all but the last at one node or between two. A node of which there are no events, as it was not
// traced, has all of its time in "link".
//
// From each part is taken what the run queue says: the longest time in which one thread of the
// node could have run and had no processor (part "processor"). Only delays that the probes were
// asked to tell one by one are seen, and the thread need not have been on the request's way; but a
// node whose threads wait for milliseconds while its requests stand still is short of processors.
//
// # The verdict
//
// The tail is the slowest hundredth of a kind. A part is to blame for a request of the tail as far
// as it took longer than the same part, anywhere, in the median of all requests. The verdict names
// what has the largest share of that excess, and where.
//
// # Limits
//
// A Span keeps MaxOps requests and MaxOthers of each other event; what is beyond is counted as not
// looked at. Requests whose events did not come, as they were lost or are still to come, are
// judged by what is there.
package trace
