package probe

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ashlar-storage/ashlar/ebpf/mark"
	"github.com/ashlar-storage/ashlar/ebpf/probe/probetest"
	"github.com/ashlar-storage/ashlar/ebpf/trace"
)

// needsRoot ends a test where no claim is made. A claim that holds must be kept.
func needsRoot(t *testing.T, features ...Feature) {
	t.Helper()
	s := thisSystem()
	for _, f := range features {
		if why := s.unmet(claimOf(f)); why != nil {
			t.Skipf("no claim is made here: %v", why)
		}
	}
	if !s.root {
		t.Skip("probes are for root")
	}
}

// attach attaches to the test's own process.
func attach(t *testing.T, features ...Feature) *Probes {
	t.Helper()
	needsRoot(t, features...)
	p, err := Attach(Config{Processes: []int{os.Getpid()}, Features: features})
	must(t, err)
	t.Cleanup(p.Close)
	return p
}

// told is a Sink that keeps what it is given.
type told struct {
	ops     []mark.Op
	appends []mark.Append
	acks    []mark.Ack
	delays  []trace.Delay
	bios    []trace.Bio
	resends []trace.Resend
	rings   []trace.RingOp
}

func (s *told) Op(_ int, o *mark.Op, _ int64)     { s.ops = append(s.ops, *o) }
func (s *told) Append(_ int, a *mark.Append)      { s.appends = append(s.appends, *a) }
func (s *told) Ack(_ int, a *mark.Ack)            { s.acks = append(s.acks, *a) }
func (s *told) Delay(_ int, d trace.Delay)        { s.delays = append(s.delays, d) }
func (s *told) Bio(_ int, b trace.Bio)            { s.bios = append(s.bios, b) }
func (s *told) Resend(_ int, r trace.Resend)      { s.resends = append(s.resends, r) }
func (s *told) Ring(_ int, r trace.RingOp)        { s.rings = append(s.rings, r) }
func poll(t *testing.T, p *Probes, s *told) *told { t.Helper(); must(t, p.Poll(s)); return s }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func attachMarks(t *testing.T) (*Probes, *probetest.Marked) {
	t.Helper()
	needsRoot(t, Marks)
	m := probetest.Start(t)
	p, err := Attach(Config{Processes: []int{m.PID}, Features: []Feature{Marks}})
	must(t, err)
	t.Cleanup(p.Close)
	return p, m
}

func TestMarkersTellOfEveryRecordAsItWas(t *testing.T) {
	p, m := attachMarks(t)
	if !m.Send(t, "ops", 200) || !m.Send(t, "appends", 1) || !m.Send(t, "acks", 1) {
		t.Error("a probe is attached and the process does not know")
	}
	got := poll(t, p, &told{})
	if len(got.ops) != 200 || len(got.appends) != 1 || len(got.acks) != 1 {
		t.Fatalf("%d requests, %d appends, %d acks", len(got.ops), len(got.appends), len(got.acks))
	}
	for i, o := range got.ops {
		n := uint64(i)
		if want := (mark.Op{Session: 1 << 60, ID: n, Copyset: 7, Term: 3, Index: n + 1, Volume: 9,
			Offset: n << 12, Length: 4096, Kind: 2, Been: 0x51, Status: 300, Arrived: int64(i),
			Spent: [mark.Stages]int64{1, 2, 3, 4, 5, 6, 7}, Node: 11, Store: 12}); o != want {
			t.Fatalf("request %d is %+v", i, o)
		}
	}
	if want := (mark.Append{Copyset: 1, Term: 2, First: 3, Count: 4, Bytes: 5, Queued: 6, Began: 7,
		Durable: 8, Taken: 9, Node: 10, Store: 11}); got.appends[0] != want {
		t.Errorf("append %+v", got.appends[0])
	}
	if want := (mark.Ack{Copyset: 1, Term: 2, Index: 3, At: 4, From: 5, Node: 6,
		Store: 7}); got.acks[0] != want {
		t.Errorf("ack %+v", got.acks[0])
	}
	p.Close()
	if m.Send(t, "ops", 1) {
		t.Error("attached after the probes were taken away")
	}
}

func TestAnyNumberOfRecordsThatAMarkerIsHandedIsTold(t *testing.T) {
	p, m := attachMarks(t)
	for n := 1; n <= mark.Batch; n++ {
		m.Send(t, "ops", n)
		got := poll(t, p, &told{})
		for i, o := range got.ops {
			if o.ID != uint64(i) || o.Node != 11 {
				t.Errorf("record %d of %d is %+v", i, n, o)
			}
		}
		if len(got.ops) != n {
			t.Errorf("of %d records %d were told", n, len(got.ops))
		}
	}
}

// Events from elsewhere may lie where no record may.
func TestRecordsAreReadWhereverTheyLie(t *testing.T) {
	all := []mark.Op{{ID: 1, Node: 2}, {ID: 3, Store: 4}}
	raw := make([]byte, 8+headSize+2*int(unsafe.Sizeof(all[0])))
	for _, at := range []int{0, 4} {
		event := raw[at : len(raw)-8+at]
		copy(event, unsafe.Slice((*byte)(unsafe.Pointer(&probeHead{Kind: eventOp, Count: 2,
			Target: 5, At: 6})), headSize))
		copy(event[headSize:], unsafe.Slice((*byte)(unsafe.Pointer(&all[0])), len(event)-headSize))
		var d Decoder
		var got told
		if d.Decode(event, &got); !slices.Equal(got.ops, all) {
			t.Errorf("at %d: %+v", at, got.ops)
		}
	}
}

func TestEventsThatFindNoRoomAreCounted(t *testing.T) {
	p, m := attachMarks(t)
	const sent = 200_000
	m.Send(t, "ops", sent)
	got := poll(t, p, &told{})
	counts, err := p.Counts(0)
	must(t, err)
	if counts.Lost == 0 || uint64(len(got.ops))+counts.Lost != sent {
		t.Errorf("%d came, %d were lost, %d were told", len(got.ops), counts.Lost, sent)
	}
}

func TestDeviceOperationsAreTimed(t *testing.T) {
	p := attach(t, Block)
	name := filepath.Join(t.TempDir(), "file")
	fd, err := unix.Open(name, unix.O_CREAT|unix.O_RDWR|unix.O_DIRECT|unix.O_DSYNC, 0o600)
	must(t, err)
	defer unix.Close(fd)
	mem, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_ANON|unix.MAP_PRIVATE)
	must(t, err)
	const n = 20
	for i := range n {
		_, err := unix.Pwrite(fd, mem, int64(i)<<12)
		must(t, err)
		_, err = unix.Pread(fd, mem, int64(i)<<12)
		must(t, err)
	}
	got := poll(t, p, &told{})
	classes := map[trace.Class]int{}
	for _, b := range got.bios {
		classes[b.Class]++
		if b.Took <= 0 || b.Device == 0 {
			t.Errorf("%+v", b)
		}
	}
	if classes[trace.ClassRead] < n || classes[trace.ClassWrite] < n {
		t.Errorf("operations by class: %v", classes)
	}
	for kind, least := range map[Times]uint64{TimesRead: n, TimesWrite: n} {
		h, err := p.Times(0, kind)
		must(t, err)
		if h.N < least || h.Quantile(0.5) <= 0 {
			t.Errorf("times %d: %d, p50 %v", kind, h.N, h.Quantile(0.5))
		}
	}
	devices, err := p.Devices()
	must(t, err)
	if len(devices) == 0 {
		t.Error("no device was seen")
	}
}

// contend has two threads want one processor for so long, and gives what each of them waited at
// least: the time less what it ran, by its own clock.
func contend(t *testing.T, long time.Duration) (waited [2]time.Duration) {
	t.Helper()
	var one unix.CPUSet
	must(t, unix.SchedGetaffinity(0, &one))
	for cpu, left := 0, one.Count(); left > 1; cpu++ {
		if one.IsSet(cpu) {
			one.Clear(cpu)
			left--
		}
	}
	errs := make(chan error)
	for i := range waited {
		go func() {
			runtime.LockOSThread() // and never unlocks it: the thread ends with the goroutine
			errs <- unix.SchedSetaffinity(0, &one)
			var ran, ran0 unix.Timespec
			_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ran0)
			began := time.Now()
			for time.Since(began) < long {
			}
			_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ran)
			waited[i] = time.Since(began) - time.Duration(ran.Nano()-ran0.Nano())
			errs <- nil
		}()
	}
	for range 2 * len(waited) {
		must(t, <-errs)
	}
	return waited
}

func TestWaitsForAProcessorAreTimed(t *testing.T) {
	p := attach(t, RunQueue)
	n, all := 0, time.Duration(0)
	// Waits of a thread before its clock is read are told too: with others on that processor they
	// may be long.
	for try := 1; ; try++ {
		waited := contend(t, 300*time.Millisecond)
		delays := waits(t, p)
		threads := map[uint32]time.Duration{}
		for _, d := range delays {
			threads[d.Thread] += time.Duration(d.Took)
			all += time.Duration(d.Took)
		}
		n += len(delays)
		if apart := unlike(waited, threads); apart == "" {
			break
		} else if try == 3 {
			t.Error(apart)
			break
		}
	}
	h, err := p.Times(0, TimesRunQueue)
	must(t, err)
	if int(h.N) < n || time.Duration(h.Sum) < all {
		t.Errorf("%d waits of %v counted, %d of %v told", h.N, time.Duration(h.Sum), n, all)
	}
}

// waits are those that were told since the last time.
func waits(t *testing.T, p *Probes) []trace.Delay {
	t.Helper()
	delays := poll(t, p, &told{}).delays
	for _, d := range delays {
		if d.Took < 0 || d.Began <= 0 || d.Began+d.Took > mark.Now() {
			t.Errorf("delay %+v", d)
		}
	}
	return delays
}

// unlike says which of two threads waited for another time than it was told of; the two that were
// told of most are meant.
func unlike(waited [2]time.Duration, threads map[uint32]time.Duration) string {
	most := slices.Sorted(maps.Values(threads))
	slices.Sort(waited[:])
	for i, want := range waited {
		if len(most) < len(waited) {
			return fmt.Sprintf("waits of %d threads were told", len(most))
		}
		if got := most[len(most)-2+i]; got < want*8/10 || got > want*11/10+2*time.Millisecond {
			return fmt.Sprintf("a thread waited %v, it was told of %v", want, got)
		}
	}
	return ""
}

// Without histograms only long waits are looked at; they are told all the same.
func TestLongWaitsAreToldWithoutHistograms(t *testing.T) {
	needsRoot(t, RunQueue)
	const least = time.Millisecond
	p, err := Attach(Config{Processes: []int{os.Getpid()}, Features: []Feature{RunQueue},
		MinDelay: least, Untimed: true})
	must(t, err)
	defer p.Close()
	contend(t, 100*time.Millisecond)
	got := poll(t, p, &told{})
	for _, d := range got.delays {
		if d.Took < int64(least) {
			t.Errorf("a short one: %+v", d)
		}
	}
	h, err := p.Times(0, TimesRunQueue)
	must(t, err)
	if len(got.delays) == 0 || h.N != 0 {
		t.Errorf("%d told, %d counted", len(got.delays), h.N)
	}
}

// A connection whose other end does not answer sends its first segment again after a second.
func TestResentSegmentsAreTheirProcesses(t *testing.T) {
	p := attach(t, Resends)
	m := probetest.Start(t)
	other, err := Attach(Config{Processes: []int{m.PID}, Features: []Feature{Resends}})
	must(t, err)
	defer other.Close()
	port := fullListener(t)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	must(t, err)
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: port,
		Addr: [4]byte{127, 0, 0, 1}}); !errors.Is(err, unix.EINPROGRESS) {
		t.Fatalf("connect: %v", err)
	}
	var got told
	for end := time.Now().Add(10 * time.Second); len(got.resends) == 0; {
		if time.Sleep(20 * time.Millisecond); time.Now().After(end) {
			t.Fatal("nothing was sent again in 10 s")
		}
		poll(t, p, &got)
	}
	if r := got.resends[0]; int(r.Remote) != port || r.At <= 0 {
		t.Errorf("%+v, to port %d", r, port)
	}
	if theirs := poll(t, other, &told{}); len(theirs.resends) != 0 {
		t.Errorf("told of another process: %+v", theirs.resends)
	}
}

// fullListener is the port of one that takes no connection any more.
func fullListener(t *testing.T) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	must(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(t, unix.Listen(fd, 0))
	at, err := unix.Getsockname(fd)
	must(t, err)
	port := at.(*unix.SockaddrInet4).Port
	first, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	must(t, err)
	t.Cleanup(func() { first.Close() })
	return port
}

func TestDataInSocketsIsTimed(t *testing.T) {
	p := attach(t, TCP)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	out, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	defer out.Close()
	in, err := l.Accept()
	must(t, err)
	defer in.Close()
	const lay = 30 * time.Millisecond
	for range 5 { // the first read makes the socket known
		_, err := out.Write([]byte("x"))
		must(t, err)
		time.Sleep(lay)
		_, err = in.Read(make([]byte, 1))
		must(t, err)
	}
	h, err := p.Times(0, TimesReceive)
	must(t, err)
	if h.N < 4 || h.Quantile(0.5) < lay {
		t.Errorf("%d reads, p50 %v; the data lay for %v", h.N, h.Quantile(0.5), lay)
	}
}

func TestEveryClaimIsKept(t *testing.T) {
	needsRoot(t, All()...)
	m := probetest.Start(t)
	for _, f := range append(All(), "") {
		cfg := Config{Processes: []int{m.PID}}
		if f != "" {
			cfg.Features = []Feature{f}
		}
		p, err := Attach(cfg)
		if err != nil {
			t.Errorf("%q: %v", f, err)
			continue
		}
		p.Close()
	}
}

func TestOptionalFeaturesAreDoneWithout(t *testing.T) {
	needsRoot(t, TCP)
	m := probetest.Start(t, "-ldflags=-s")
	p, err := Attach(Config{Processes: []int{m.PID}, Features: []Feature{TCP},
		Optional: []Feature{Marks}})
	must(t, err)
	defer p.Close()
	if missing := p.Missing(); len(missing) != 1 || !errors.Is(missing[0], ErrRefused) {
		t.Errorf("missing: %v", missing)
	}
}

func TestProcessWithoutSymbolsIsRefused(t *testing.T) {
	needsRoot(t, Marks)
	m := probetest.Start(t, "-ldflags=-s")
	_, err := Attach(Config{Processes: []int{m.PID}, Features: []Feature{Marks}})
	var r *Refused
	if !errors.As(err, &r) || !errors.Is(err, ErrRefused) ||
		!strings.Contains(err.Error(), "symbols") {
		t.Errorf("attached: %v", err)
	}
}

func TestUnmetConditionsAreNamed(t *testing.T) {
	good := system{major: 6, minor: 18, release: "6.18.1", btf: true, root: true}
	if why := good.unmet(claimOf(TCP)); why != nil {
		t.Errorf("refused: %v", why)
	}
	if why := good.unmet(claimOf(RunQueue)); why == nil ||
		!strings.Contains(why.Error(), "CONFIG_SCHED_INFO") {
		t.Errorf("a kernel that keeps no waits: %v", why)
	}
	for want, change := range map[string]func(*system){
		"it needs 6.3":    func(s *system) { s.major, s.minor, s.release = 5, 19, "5.19.0" },
		"CONFIG_DEBUG_IN": func(s *system) { s.btf = false },
		"confidentiality": func(s *system) { s.lockdown = "confidentiality" },
	} {
		s := good
		change(&s)
		if why := s.unmet(claimOf(TCP)); why == nil || !strings.Contains(why.Error(), want) {
			t.Errorf("want %q in %v", want, why)
		}
	}
	s := good
	s.root = false
	if err := s.explain(TCP, unix.EPERM); !strings.Contains(err.Error(), "CAP_PERFMON") {
		t.Errorf("without rights: %v", err)
	}
	if got := lockdownMode("none [integrity] confidentiality\n"); got != "integrity" {
		t.Errorf("mode %q", got)
	}
	if got := lockdownMode("[none] integrity confidentiality\n"); got != "" {
		t.Errorf("mode %q", got)
	}
}

func TestObjectsAreMadeFromTheSourcesBesideThem(t *testing.T) {
	want, err := os.ReadFile("probe.sum")
	must(t, err)
	var got strings.Builder
	for _, name := range []string{"bpf.h", "kernel.h", "probe.bpf.c", "generate.sh"} {
		text, err := os.ReadFile(name)
		must(t, err)
		fmt.Fprintf(&got, "%x  %s\n", sha256.Sum256(text), name)
	}
	if got.String() != string(want) {
		t.Errorf("a source was changed and `go generate` not run:\n%s\nnot\n%s", got.String(), want)
	}
}

// The records are copied as they are.
func TestRecordsLieAsTheProbesReadThem(t *testing.T) {
	for _, pair := range [][2]any{
		{probeOpEvent{}.Op, mark.Op{}}, {probeAppendEvent{}.Append, mark.Append{}},
		{probeAckEvent{}.Ack, mark.Ack{}}, {probeHist{}, trace.Hist{}},
	} {
		c, g := reflect.TypeOf(pair[0]), reflect.TypeOf(pair[1])
		if c.Size() != g.Size() {
			t.Errorf("%v has %d bytes, %d in C", g, g.Size(), c.Size())
		}
		for i := range g.NumField() {
			name := g.Field(i).Name
			f, ok := c.FieldByNameFunc(func(s string) bool { return strings.EqualFold(s, name) })
			if !ok || f.Offset != g.Field(i).Offset || f.Type.Size() != g.Field(i).Type.Size() {
				t.Errorf("%v.%s lies at %d, in C at %d (%v)", g, name, g.Field(i).Offset,
					f.Offset, ok)
			}
		}
	}
}
