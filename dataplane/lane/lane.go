package lane

// Mode says what an operation does with its blocks.
type Mode uint8

// The modes; the package comment has the table of what excludes what.
const (
	Read  Mode = iota // reads blocks from the device
	Flush             // writes committed blocks to the device
	Write             // replicates whole blocks
	Merge             // replicates parts of blocks: reads the base, then writes whole blocks
	modes
)

// Lanes is the number of lanes of a table. More lanes mean shorter lists to search; chunks that
// share a lane never wait for each other.
const Lanes = 64

var conflicts = [modes][modes]bool{
	Read:  {Flush: true},
	Flush: {Read: true, Flush: true, Merge: true},
	Write: {Merge: true},
	Merge: {Flush: true, Write: true, Merge: true},
}

// Chunk names a chunk inside a copyset.
type Chunk struct{ Volume, Index uint64 }

// Before says whether c comes before d, in the order of volumes and their chunks.
func (c Chunk) Before(d Chunk) bool {
	return c.Volume < d.Volume || c.Volume == d.Volume && c.Index < d.Index
}

// Op is an operation on Count blocks from First of one chunk. The caller embeds it in its own
// record and finds that again through User.
type Op struct {
	Chunk        Chunk
	First, Count uint32
	Mode         Mode
	// Ahead lets the operation overtake what waits: it waits for what runs alone. It is for
	// operations that those which wait may themselves depend on.
	Ahead bool
	// Part says that the operation is one of several that begin together: it waits until Begin,
	// also when nothing stands in its way any more.
	Part bool
	User any

	prev, next *Op
	blockers   int
	entered    bool
	came       uint64 // order of arrival
	began      uint64 // and of the beginnings, in the same count; 0: it waits
}

// Free reports whether nothing stands in the way of an operation that has entered.
func (op *Op) Free() bool { return op.blockers == 0 }

// Table holds the lanes of one copyset. The zero value is ready.
type Table struct {
	lanes [Lanes]list
	size  int
	ahead int // of them, those that overtook
	count uint64
}

type list struct{ head, tail *Op }

// Len is the number of operations that run or wait.
func (t *Table) Len() int { return t.size }

// Enter adds op and reports whether it may start now; if not, a later Leave grants it.
func (t *Table) Enter(op *Op) bool { return t.enter(op, nil) }

// EnterParts adds the parts of what begins together: of one chunk, no two with a block in common.
// They are not held against each other, so that hundreds of them cost no more than they are.
func (t *Table) EnterParts(ops []*Op) {
	for _, op := range ops {
		t.enter(op, ops[0])
	}
}

// enter adds op, and holds it against what stands in its lane before first.
func (t *Table) enter(op, first *Op) bool {
	if op.entered {
		panic("lane: operation entered twice")
	}
	l := t.lane(op.Chunk)
	t.count++
	op.blockers, op.came, op.began = 0, t.count, 0
	for o := l.head; o != nil && o != first; o = o.next {
		switch {
		case !o.excludes(op):
		case op.Ahead && o.began == 0:
			o.blockers++
		default:
			op.blockers++
		}
	}
	op.entered = true
	op.prev, op.next = l.tail, nil
	if l.tail != nil {
		l.tail.next = op
	} else {
		l.head = op
	}
	l.tail = op
	t.size++
	if op.Ahead {
		t.ahead++
	}
	return t.grant(op)
}

// grant begins an operation that nothing stands in the way of.
func (t *Table) grant(op *Op) bool {
	if !op.Free() {
		return false
	}
	if !op.Part {
		t.begin(op)
	}
	return true
}

func (t *Table) begin(op *Op) {
	t.count++
	op.began = t.count
}

// Begin begins a Part that is free. Until then it may be granted again, because something that
// entered ahead stood in its way once more.
func (t *Table) Begin(op *Op) {
	if !op.entered || !op.Free() || op.began != 0 {
		panic("lane: an operation begins that has not been granted")
	}
	t.begin(op)
}

// Leave removes op, running or waiting, and appends to granted the operations that may start now.
func (t *Table) Leave(op *Op, granted []*Op) []*Op {
	first := op.next
	if t.ahead > 0 {
		first = t.lane(op.Chunk).head
	}
	granted = t.release(op, first, granted)
	t.remove(op)
	return granted
}

// LeaveParts removes operations that entered by EnterParts, as Leave one after the other does.
func (t *Table) LeaveParts(ops, granted []*Op) []*Op {
	for _, op := range ops {
		t.remove(op)
	}
	for _, op := range ops {
		granted = t.release(op, t.lane(op.Chunk).head, granted)
	}
	return granted
}

// release takes op out of the way of what waits for it from first on.
func (t *Table) release(op, first *Op, granted []*Op) []*Op {
	for o := first; o != nil; o = o.next {
		if op.excludes(o) && o.waitsFor(op) {
			o.blockers--
			if t.grant(o) {
				granted = append(granted, o)
			}
		}
	}
	return granted
}

func (t *Table) remove(op *Op) {
	if !op.entered {
		panic("lane: operation left without entering")
	}
	t.lane(op.Chunk).unlink(op)
	op.entered = false
	t.size--
	if op.Ahead {
		t.ahead--
	}
}

// waitsFor says which of two operations that exclude each other has to wait.
func (op *Op) waitsFor(other *Op) bool {
	switch {
	case op.Ahead && op.came > other.came:
		return other.began != 0 && other.began < op.came
	case other.Ahead && other.came > op.came:
		return op.began == 0
	}
	return op.came > other.came
}

// Replace puts op in the place of old, which is free then: who owned old is done, but what it had
// begun is not. op keeps its User and takes over everything else.
func (t *Table) Replace(old, op *Op) {
	if !old.entered || op.entered {
		panic("lane: an operation is replaced by one that is not free, or is not there")
	}
	user := op.User
	*op = *old
	op.User = user
	l := t.lane(op.Chunk)
	if op.prev != nil {
		op.prev.next = op
	} else {
		l.head = op
	}
	if op.next != nil {
		op.next.prev = op
	} else {
		l.tail = op
	}
	old.prev, old.next, old.entered = nil, nil, false
}

func (l *list) unlink(op *Op) {
	if op.prev != nil {
		op.prev.next = op.next
	} else {
		l.head = op.next
	}
	if op.next != nil {
		op.next.prev = op.prev
	} else {
		l.tail = op.prev
	}
	op.prev, op.next = nil, nil
}

func (op *Op) excludes(o *Op) bool {
	return conflicts[op.Mode][o.Mode] && op.Chunk == o.Chunk &&
		op.First < o.First+o.Count && o.First < op.First+op.Count
}

func (t *Table) lane(c Chunk) *list { return &t.lanes[hash(c)%Lanes] }

// hash is the 64-bit finaliser of MurmurHash3 over both numbers.
func hash(c Chunk) uint64 {
	x := c.Volume*0x9e3779b97f4a7c15 ^ c.Index
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
