package floor

import (
	"hash/crc32"
	"time"

	"golang.org/x/sys/unix"
)

// CPU is what the machine's processor needs for work that every operation has. In ns.
type CPU struct {
	CRC     float64 `json:"crc32c_4k_ns"`
	Copy    float64 `json:"copy_4k_ns"`
	Syscall float64 `json:"system_call_ns"`
	Switch  float64 `json:"goroutine_switch_ns"` // to one that waits, and back: half of it
	Clock   float64 `json:"clock_ns"`
}

const (
	cpuBlock = 4096
	cpuFor   = 100 * time.Millisecond
)

// per is the time of one call, the least of what three tries took.
func per(f func(n int)) (least float64) {
	for range 3 {
		n := 1000
		for {
			began := time.Now()
			f(n)
			d := time.Since(began)
			if d >= cpuFor/3 {
				if ns := float64(d) / float64(n); least == 0 || ns < least {
					least = ns
				}
				break
			}
			n *= 4
		}
	}
	return least
}

func measureCPU() (c CPU) {
	table := crc32.MakeTable(crc32.Castagnoli)
	a, b := make([]byte, cpuBlock), make([]byte, cpuBlock)
	var sum uint32
	c.CRC = per(func(n int) {
		for range n {
			sum ^= crc32.Checksum(a, table)
		}
	})
	c.Copy = per(func(n int) {
		for range n {
			copy(b, a)
			b[sum&(cpuBlock-1)]++
		}
	})
	c.Syscall = per(func(n int) {
		for range n {
			_ = unix.Getppid()
		}
	})
	c.Clock = per(func(n int) {
		for range n {
			_ = time.Now()
		}
	})
	c.Switch = switches() / 2
	return c
}

func switches() float64 {
	to, back := make(chan struct{}), make(chan struct{})
	defer close(to)
	go func() {
		for range to {
			back <- struct{}{}
		}
	}()
	return per(func(n int) {
		for range n {
			to <- struct{}{}
			<-back
		}
	})
}
