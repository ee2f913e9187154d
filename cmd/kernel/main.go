package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

func main() {
	if err := command(os.Args[1:]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func command(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "load":
		return load(args[1])
	case len(args) == 4 && args[0] == "guest":
		seed, err := strconv.ParseUint(args[2], 10, 64)
		if err != nil {
			return fmt.Errorf("kernel: seed: %w", err)
		}
		ops, err := strconv.Atoi(args[3])
		if err != nil {
			return fmt.Errorf("kernel: operations: %w", err)
		}
		return runGuest(args[1], seed, ops)
	case len(args) > 0 && args[0] == "run":
		return lane(args[1:])
	case len(args) > 0 && args[0] == "replay":
		return again(args[1:])
	}
	return errors.New("kernel: use: kernel run [-seed N] [-ops N] [-keep] [-dir FOLDER], or " +
		"kernel replay -dir FOLDER [-seed N] [-ops N]")
}

// lane is all of it: record in the virtual machine, replay here.
func lane(args []string) error {
	flags := flag.NewFlagSet("kernel run", flag.ContinueOnError)
	seed := flags.Uint64("seed", 1, "of the workload and of what a power cut keeps")
	ops := flags.Int("ops", opsDefault, "operations in each of the phases")
	keep := flags.Bool("keep", false, "leave the disks and the log for a look")
	folder := flags.String("dir", os.TempDir(), "where the disks go; not below /dev, /mnt or /run")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := fit(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(*folder, "ashlar-kernel-")
	if err != nil {
		return err
	}
	if *keep {
		fmt.Printf("kernel: disks and log stay in %s\n", dir)
	} else {
		defer os.RemoveAll(dir)
	}
	return workshop{dir}.lane(*seed, *ops)
}

// again recovers from a log that a run has kept.
func again(args []string) error {
	flags := flag.NewFlagSet("kernel replay", flag.ContinueOnError)
	seed := flags.Uint64("seed", 1, "that the run had")
	ops := flags.Int("ops", opsDefault, "that the run had")
	dir := flags.String("dir", "", "what the run kept")
	if err := errors.Join(flags.Parse(args), fit()); err != nil {
		return err
	}
	begin := time.Now()
	r, err := replay(workshop{*dir}, *seed, *ops)
	if err != nil {
		return err
	}
	return r.report(time.Since(begin))
}

func (w workshop) lane(seed uint64, ops int) error {
	begin := time.Now()
	program, err := os.Executable()
	if err != nil {
		return err
	}
	program, err = filepath.Abs(program)
	if err := errors.Join(err, w.prepare()); err != nil {
		return err
	}
	fmt.Printf("kernel: seed %d, %d phases of %d operations; starting the virtual machine\n", seed,
		phases, ops)
	if err := w.boot(program, seed, ops); err != nil {
		return err
	}
	fmt.Printf("kernel: recorded in %v; recovering every state of the log\n",
		time.Since(begin).Round(time.Second))
	r, err := replay(w, seed, ops)
	if err != nil {
		return err
	}
	return r.report(time.Since(begin))
}
