package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/ashlar-storage/ashlar/perf/guest"
)

// modules of the machine. The first is what soft RoCE asks the kernel for by name and does not
// count among what it needs.
var modules = []string{"crc32_generic", "rdma_rxe", "rdma_ucm", "dummy", "virtio_net", "virtio_pci"}

// The network of a machine, and of the other one if there are two.
const (
	device  = "dummy0"
	cable   = "eth0"
	address = "10.9.0.1"
	other   = "10.9.0.2"
)

// lane is what was asked for.
type lane struct {
	cache, pattern, skip, pair, ashlar string
	show                               bool
	cpus, memory, count                int
	limit                              time.Duration
	programs                           []string
	kernel                             *guest.Kernel
	begin                              time.Time
}

// command runs the test programs in the machine and judges what they say.
func command(args []string) error {
	l := &lane{begin: time.Now()}
	flags := flag.NewFlagSet("rdma-guest", flag.ContinueOnError)
	flags.StringVar(&l.cache, "cache", "bin/guest", "where the unpacked kernel is kept")
	flags.StringVar(&l.pattern, "run", ".", "only the tests of this pattern")
	flags.StringVar(&l.skip, "skip", "", "not the tests of this pattern")
	flags.StringVar(&l.pair, "pair", "", "two patterns with a comma between: the tests of two "+
		"machines joined by a cable, which run at one time and are left out otherwise")
	flags.StringVar(&l.ashlar, "program", "", "ashlar with RDMA, for the tests of a cluster")
	flags.BoolVar(&l.show, "v", false, "show everything that is printed in the machine")
	flags.IntVar(&l.count, "count", 1, "how often each test is run")
	flags.IntVar(&l.cpus, "cpus", machineCPUs, "of the machine")
	flags.IntVar(&l.memory, "memory", machineMemory, "of the machine, MiB")
	flags.DurationVar(&l.limit, "time", laneTime, "for all of it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if l.programs = flags.Args(); len(l.programs) == 0 {
		return errors.New("rdma-guest: use: rdma-guest [-run PATTERN] [-v] [-program ASHLAR] " +
			"TEST-PROGRAM [TEST-PROGRAM ...]; the first is missing")
	}
	return l.run()
}

// run does all of it.
func (l *lane) run() error {
	if err := guest.Fit(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), l.limit)
	defer cancel()
	var err error
	if l.kernel, err = guest.Fetch(ctx, l.cache, modules); err != nil {
		return err
	}
	if err := l.alone(ctx); err != nil {
		return err
	}
	if l.pair != "" {
		return l.joined(ctx)
	}
	return nil
}

// machine is one without anything to do.
func (l *lane) machine(device, address string) guest.Machine {
	m := guest.Machine{Kernel: l.kernel, Memory: l.memory, CPUs: l.cpus, Files: map[string]string{},
		Job: guest.Job{Interface: device, Address: address + "/24"}}
	if l.ashlar != "" {
		m.Files["bin/ashlar"] = l.ashlar
	}
	return m
}

// alone runs everything that needs one machine.
func (l *lane) alone(ctx context.Context) error {
	m := l.machine(device, address)
	v := &verdict{show: l.show}
	if l.ashlar != "" {
		m.Job.Runs = append(m.Job.Runs, guest.Run{Name: doctor, Time: doctorTime,
			Args: []string{"/bin/ashlar", "rdma", "doctor", "--listen", address + ":7401", "--to",
				address + ":7402"}})
	}
	skip := l.skip
	for _, p := range strings.FieldsFunc(l.pair, func(r rune) bool { return r == ',' }) {
		skip = strings.TrimPrefix(skip+"|"+p, "|")
	}
	for _, program := range l.programs {
		if err := v.add(ctx, &m, program, l.pattern, skip, l.limit, l.count); err != nil {
			return err
		}
	}
	if len(v.wanted) == 0 && l.pair != "" {
		return nil
	}
	return l.judge(m, v, func() error { return m.Run(ctx, v.line) })
}

func (l *lane) judge(m guest.Machine, v *verdict, run func() error) error {
	fmt.Printf("rdma-guest: %s, %d tests, in the machine after %v\n", m.Kernel.Name, len(v.wanted),
		time.Since(l.begin).Round(100*time.Millisecond))
	if err := errors.Join(run(), v.judge()); err != nil {
		return err
	}
	fmt.Printf("rdma-guest: %d tests passed, %v since the start\n", len(v.wanted),
		time.Since(l.begin).Round(100*time.Millisecond))
	return nil
}

// joined runs the tests of two machines.
func (l *lane) joined(ctx context.Context) error {
	first, second, two := strings.Cut(l.pair, ",")
	if !two {
		return errors.New("rdma-guest: -pair: want two patterns with a comma between")
	}
	dir, err := os.MkdirTemp("", "ashlar-cable-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	line, err := guest.NewCable(filepath.Join(dir, "near"), filepath.Join(dir, "far"))
	if err != nil {
		return err
	}
	defer line.Close()
	v := &verdict{show: l.show, lose: line.Lose}
	ends := []guest.Machine{l.machine(cable, address), l.machine(cable, other)}
	for i, pattern := range []string{first, second} {
		ends[i].Socket, ends[i].Plug = filepath.Join(dir, []string{"far", "near"}[i]), i == 0
		for _, program := range l.programs {
			if err := v.add(ctx, &ends[i], program, pattern, l.skip, l.limit, 1); err != nil {
				return err
			}
		}
	}
	return l.judge(ends[0], v, func() error {
		done := make(chan error, 2)
		go func() { done <- ends[0].Run(ctx, v.line) }()
		if err := await(ctx, ends[0].Socket); err != nil {
			return errors.Join(err, <-done)
		}
		go func() { done <- line.Run() }()
		err := errors.Join(ends[1].Run(ctx, v.line), line.Close())
		return errors.Join(err, <-done, <-done)
	})
}

// await waits until a file is there.
func await(ctx context.Context, path string) error {
	for ctx.Err() == nil {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
		time.Sleep(cableTick)
	}
	return ctx.Err()
}

// add has the machine run a test program, and the verdict wait for each of its tests.
func (v *verdict) add(ctx context.Context, m *guest.Machine, program, pattern, skip string,
	limit time.Duration, count int) error {
	name := filepath.Base(program)
	program, err := filepath.Abs(program)
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, program, "-test.list", pattern).Output()
	if err != nil {
		return fmt.Errorf("rdma-guest: %s -test.list: %w", program, err)
	}
	without, err := regexp.Compile(skip)
	if err != nil {
		return fmt.Errorf("rdma-guest: -skip: %w", err)
	}
	tests := 0
	for _, t := range strings.Fields(string(out)) {
		if strings.HasPrefix(t, "Test") && (skip == "" || !without.MatchString(t)) {
			v.want(name, t)
			tests++
		}
	}
	if tests == 0 {
		return nil
	}
	m.Files["bin/"+name] = program
	args := []string{"/bin/" + name, "-test.v", "-test.count",
		strconv.Itoa(count), "-test.run", pattern}
	if skip != "" {
		args = append(args, "-test.skip", skip)
	}
	m.Job.Runs = append(m.Job.Runs, guest.Run{Name: name, Args: args, Time: limit,
		Env: append([]string{"RDMA=required", "ASHLAR=/bin/ashlar",
			"RDMA_ADDRESS=" + strings.TrimSuffix(m.Job.Address, "/24")}, passedOn()...)})
	return nil
}

// passedOn are the variables of this program's environment that the tests get.
func passedOn() (out []string) {
	for _, v := range os.Environ() {
		if strings.HasPrefix(v, "RDMA_") {
			out = append(out, v)
		}
	}
	return out
}
