package probe

import (
	"debug/elf"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

const markPackage = "github.com/ashlar-storage/ashlar/ebpf/mark."

// program is the executable of a process, with the markers in it.
type program struct {
	exe   *link.Executable
	armed uint64 // where in the file the word is that the kernel counts probes in
}

// openProgram reads the executable that a process runs, also one that was replaced on the disk
// since.
func openProgram(pid int) (*program, error) {
	path := fmt.Sprintf("/proc/%d/exe", pid)
	armed, err := offsetOf(path, markPackage+"armed")
	if err != nil {
		return nil, err
	}
	exe, err := link.OpenExecutable(path)
	if err != nil {
		return nil, err
	}
	return &program{exe, armed}, nil
}

// offsetOf is where a variable lies in a file.
func offsetOf(path, symbol string) (uint64, error) {
	f, err := elf.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %w", path, link.ErrNoSymbol, err)
	}
	for _, s := range symbols {
		if s.Name != symbol {
			continue
		}
		for _, p := range f.Progs {
			if p.Type == elf.PT_LOAD && s.Value >= p.Vaddr && s.Value < p.Vaddr+p.Filesz {
				return s.Value - p.Vaddr + p.Off, nil
			}
		}
	}
	return 0, fmt.Errorf("%s: %w: %s", path, link.ErrNoSymbol, symbol)
}

// attach puts a program on its marker in one process, a target. Its name says which: mark_ops is
// that of ops.
func (p *program) attach(pid, target int, name string, prog *ebpf.Program) (link.Link, error) {
	function := markPackage + strings.TrimPrefix(name, "mark_") + ".abi0"
	return p.exe.Uprobe(function, prog, &link.UprobeOptions{PID: pid, RefCtrOffset: p.armed,
		Cookie: uint64(target)})
}
