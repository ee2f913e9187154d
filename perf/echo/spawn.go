package echo

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Process is a server in a process of its own.
type Process struct {
	Addr string
	cmd  *exec.Cmd
}

// Spawn starts a program that calls Serve and writes the address as the first line of its output.
// It should end when its input does.
func Spawn(argv ...string) (*Process, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		// Held by this process, so that the other one can see when it ends.
		_, err = cmd.StdinPipe()
	}
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("echo: server: %w", err)
	}
	p := &Process{cmd: cmd}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("echo: server: no address: %w", err)
	}
	p.Addr = strings.TrimSpace(line)
	return p, nil
}

// Close ends the process.
func (p *Process) Close() {
	_ = p.cmd.Process.Signal(os.Interrupt)
	_ = p.cmd.Wait() // its way to end is the signal
}
