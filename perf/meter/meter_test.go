package meter

import (
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestCPUOfABusyProcessGrows(t *testing.T) {
	before, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	busy, err := Busy()
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		if now, _ := CPU(os.Getpid()); now >= before+30*time.Millisecond {
			if b, _ := Busy(); b <= busy {
				t.Errorf("the machine was busy for %v, this process for 30 ms", b-busy)
			}
			return
		}
	}
	t.Error("5 s of computing used less than 30 ms of CPU time")
}

func TestMemoryInPlaceIsThatWhichWasTouched(t *testing.T) {
	const size = 64 << 20
	before, err := Resident(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	p, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(p)
	mapped, _ := Resident(os.Getpid())
	for i := 0; i < size; i += os.Getpagesize() {
		p[i] = 1
	}
	touched, _ := Resident(os.Getpid())
	if mapped-before > size/2 || touched-before < size*3/4 {
		t.Errorf("%d MiB, %d mapped, %d touched", before>>20, mapped>>20, touched>>20)
	}
}

func TestNameOfAProcessDoesNotConfuse(t *testing.T) {
	got, err := parseStat([]byte("7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0"))
	if err != nil || got != 2*time.Second {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := parseStat([]byte("7 (a)")); err == nil {
		t.Error("a line that is too short is taken")
	}
}

func TestSystemCallsAreCounted(t *testing.T) {
	c, err := NewCounter([]int{os.Getpid()})
	if err != nil {
		t.Skip(err)
	}
	defer c.Close()
	before, err := c.Read()
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		syscall.Getppid()
	}
	after, err := c.Read()
	if err != nil {
		t.Fatal(err)
	}
	got := after[os.Getpid()].Syscalls - before[os.Getpid()].Syscalls
	if got < 1000 || got > 1500 {
		t.Errorf("%d system calls counted of 1000 and those of the runtime", got)
	}
}

func TestCountersOfStoresAreSummed(t *testing.T) {
	s, err := ParseStats([]byte(`{"runtime":{"mallocs":5},"node":{"name":"n"},
		"stores":[{"disk":{"writes":2},"log":{"batches":[1,2]}},{"disk":{"writes":3}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if s["runtime.mallocs"] != 5 || s["disk.writes"] != 5 {
		t.Errorf("%v", s)
	}
	d := s.Minus(Stats{"disk.writes": 1}).Plus(Stats{"disk.writes": 10})
	if d["disk.writes"] != 14 {
		t.Errorf("%v", d)
	}
	if _, err := ParseStats([]byte("<html>")); err == nil {
		t.Error("what is not JSON is taken")
	}
}
