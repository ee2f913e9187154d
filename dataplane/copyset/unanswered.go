package copyset

// What waits is kept in the order in which it came, so that somebody who looks now and then, and
// costs a request nothing, can tell which has waited longest. An answer that never comes is the one
// failure that no count of answers shows.

// unanswered is the requests that have no answer yet, oldest first.
type unanswered struct{ head, tail *Request }

// neighbours are a request's in unanswered.
type neighbours struct {
	prev, next *Request
	in         bool
}

func (p *unanswered) add(q *Request) {
	q.near = neighbours{prev: p.tail, in: true}
	if p.tail != nil {
		p.tail.near.next = q
	} else {
		p.head = q
	}
	p.tail = q
}

// drop takes a request out, if it is in.
func (p *unanswered) drop(q *Request) {
	n := q.near
	if !n.in {
		return
	}
	if n.prev != nil {
		n.prev.near.next = n.next
	} else {
		p.head = n.next
	}
	if n.next != nil {
		n.next.near.prev = n.prev
	} else {
		p.tail = n.prev
	}
	q.near = neighbours{}
}

// Waiting is a request without an answer.
type Waiting struct {
	Copyset uint64
	Kind    Kind
	Stage   Stage // where it is now
	Arrived int64 // ns, on the owner's clock
}

// Oldest is the request that has waited longest; false when none waits.
func (r *Replica) Oldest() (w Waiting, ok bool) {
	q := r.unanswered.head
	if q == nil {
		return w, false
	}
	w = Waiting{Copyset: r.id, Kind: q.Kind, Stage: q.at.stage, Arrived: q.at.since}
	for _, ns := range q.at.spent {
		w.Arrived -= ns
	}
	return w, true
}
