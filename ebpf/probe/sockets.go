package probe

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
	"unsafe"
)

// sockets knows which target each socket is open in, by the number of its inode. The kernel tells
// of resent segments of the whole machine; those of other processes are left out.
type sockets struct {
	processes []int
	target    map[uint64]int
	read      time.Time
}

// socketsAge is how long an unknown socket is taken for somebody else's before it is looked for
// again.
const socketsAge = time.Second

// settle writes a resend's target into it. False: it is nobody's. Other events it leaves as they
// are.
func (s *sockets) settle(raw []byte) bool {
	var e probeResendEvent
	if len(raw) < headSize || *(*uint16)(unsafe.Pointer(&raw[0])) != eventResend || !fill(&e, raw) {
		return true
	}
	target, known := s.target[e.Inode]
	if !known && time.Since(s.read) >= socketsAge {
		s.look()
		target, known = s.target[e.Inode]
	}
	e.Head.Target = uint32(target)
	copy(raw, unsafe.Slice((*byte)(unsafe.Pointer(&e)), len(raw)))
	return known
}

// look reads what is open in the processes. One that has ended has nothing.
func (s *sockets) look() {
	s.read, s.target = time.Now(), map[uint64]int{}
	for target, pid := range s.processes {
		dir := fmt.Sprintf("/proc/%d/fd/", pid)
		files, _ := os.ReadDir(dir)
		for _, f := range files {
			name, _ := os.Readlink(dir + f.Name())
			number, isSocket := strings.CutPrefix(name, "socket:[")
			inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64)
			if isSocket && err == nil {
				s.target[inode] = target
			}
		}
	}
}
