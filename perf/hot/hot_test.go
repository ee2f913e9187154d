package hot

import (
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/perf/linear"
	"github.com/ashlar-storage/ashlar/rpc/client"
)

// memory is a volume that is always right, unless it is told to be wrong.
type memory struct {
	mu    sync.Mutex
	data  map[int64][]byte
	after int // operations until it goes wrong; negative: never
	wrong func(m *memory, p []byte, off int64, write bool) error
}

func newMemory() *memory { return &memory{data: map[int64][]byte{}, after: -1} }

func (m *memory) do(p []byte, off int64, write bool) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.after == 0 {
		if err := m.wrong(m, p, off, write); err != nil {
			return 0, err
		}
	}
	m.after--
	if write {
		m.data[off] = append([]byte(nil), p...)
	} else if copy(p, m.data[off]) == 0 {
		clear(p)
	}
	return len(p), nil
}

func (m *memory) WriteAt(p []byte, off int64) (int, error) { return m.do(p, off, true) }
func (m *memory) ReadAt(p []byte, off int64) (int, error)  { return m.do(p, off, false) }

var busy = Config{Pause: 100 * time.Microsecond}

func judged(t *testing.T, m *memory, work time.Duration) (int, error) {
	t.Helper()
	c, err := Start(busy, m, m)
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(work); time.Now().Before(end) && c.Err() == nil; {
		time.Sleep(time.Millisecond)
	}
	return c.Judge(time.Minute)
}

func TestAVolumeThatIsRightIsFoundRight(t *testing.T) {
	m := newMemory()
	for range 2 { // the second goes on from what the first left
		if ops, err := judged(t, m, 200*time.Millisecond); err != nil || ops < 50 {
			t.Errorf("%d operations: %v", ops, err)
		}
	}
}

func TestEachWayToBeWrongIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		wrong func(m *memory, p []byte, off int64, write bool) error
		want  error
	}{
		"a block as it was before the last write": {func(m *memory, _ []byte, off int64,
			write bool) error {
			if write {
				m.after = 1 // the next will do
				return nil
			}
			old := make([]byte, BlockSize)
			Stamp(old, uint64(off/(16<<20)), 1)
			m.data[off] = old
			return nil
		}, linear.ErrViolated},
		"half of a write": {func(m *memory, _ []byte, _ int64, _ bool) error {
			for _, b := range m.data {
				clear(b[BlockSize/2:])
			}
			return nil
		}, ErrTorn},
		"an error": {func(*memory, []byte, int64, bool) error { return io.ErrUnexpectedEOF },
			io.ErrUnexpectedEOF},
	} {
		m := newMemory()
		m.after, m.wrong = 300, c.wrong
		if _, err := judged(t, m, 500*time.Millisecond); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestWriteThatTimedOutMayHaveTakenEffectOrNot(t *testing.T) {
	for _, effect := range []bool{false, true} {
		m := newMemory()
		m.after, m.wrong = 300, func(m *memory, p []byte, off int64, write bool) error {
			if effect && write {
				m.data[off] = append([]byte(nil), p...)
			}
			m.after = 300
			return client.ErrTimeout
		}
		if ops, err := judged(t, m, 300*time.Millisecond); err != nil || ops < 50 {
			t.Errorf("with effect %v, %d operations: %v", effect, ops, err)
		}
	}
}

func TestBlocksOfSomebodyElseAreNotTouched(t *testing.T) {
	m := newMemory()
	m.data[0] = []byte("somebody's text, 32 bytes of it.")
	if _, err := Start(busy, m, m); !errors.Is(err, ErrForeign) {
		t.Errorf("started: %v", err)
	}
}

func TestLongestOperationIsTold(t *testing.T) {
	m := newMemory()
	m.after, m.wrong = 100, func(*memory, []byte, int64, bool) error {
		time.Sleep(50 * time.Millisecond)
		return nil
	}
	c, err := Start(busy, m, m)
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); c.Longest() < 50*time.Millisecond; {
		if time.Now().After(end) {
			t.Fatal("a slow operation is not told of")
		}
		time.Sleep(time.Millisecond)
	}
	if _, err := c.Judge(time.Minute); err != nil {
		t.Error(err)
	}
}
