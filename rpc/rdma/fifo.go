package rdma

// fifo is a queue that reuses its memory.
type fifo[T any] struct {
	all   []T
	first int
}

func (q *fifo[T]) len() int { return len(q.all) - q.first }
func (q *fifo[T]) front() T { return q.all[q.first] }
func (q *fifo[T]) push(v T) {
	if q.first > 32 && q.first*2 > len(q.all) {
		n := copy(q.all, q.all[q.first:])
		clear(q.all[n:])
		q.all, q.first = q.all[:n], 0
	}
	q.all = append(q.all, v)
}

func (q *fifo[T]) pop() T {
	var zero T
	v := q.all[q.first]
	q.all[q.first] = zero
	if q.first++; q.first == len(q.all) {
		q.all, q.first = q.all[:0], 0
	}
	return v
}
