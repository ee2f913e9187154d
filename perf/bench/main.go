package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"

	"github.com/dustin/go-humanize"

	"github.com/ashlar-storage/ashlar/perf/echo"
)

type options struct {
	binary, dir          string
	rounds, seconds      int
	size                 int64
	only                 *regexp.Regexp
	json, write, profile string
	settings             string
	peers                []peer
	env                  string
	echoServer           bool
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&o.binary, "binary", "bin/ashlar", "the program to measure")
	f.StringVar(&o.dir, "dir", os.TempDir(), "where cluster and raw file are made, and removed")
	f.IntVar(&o.rounds, "rounds", 5, "how often each case is measured")
	f.IntVar(&o.seconds, "seconds", 3, "length of each measurement")
	size := f.String("size", "1GiB", "size of each volume and of the raw file")
	only := f.String("only", "", "measure only the cases that match this expression")
	f.StringVar(&o.json, "json", "", "write every figure to this file")
	f.StringVar(&o.write, "write", "", "replace the table between the markers of this document")
	f.StringVar(&o.profile, "profile", "", "write profiles of a node to this directory")
	f.StringVar(&o.settings, "settings", "", "further lines of each node's YAML")
	peers := f.String("peers", "", "other block stores to measure beside it: nbdkit, qemu-nbd, "+
		"or NAME:OPTION,OPTION,... of fio for one that runs")
	f.StringVar(&o.env, "env", "", "NAME=VALUE for the processes of the cluster")
	f.BoolVar(&o.echoServer, "echo-server", false, "serve the round trips of another bench")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	n, err := humanize.ParseBytes(*size)
	if err != nil || n < 64<<20 {
		return o, fmt.Errorf("bench: -size %s: write a size of 64MiB or more, such as 1GiB", *size)
	}
	o.size = int64(n) &^ (1<<20 - 1)
	if o.rounds < 1 || o.seconds < 1 {
		return o, fmt.Errorf("bench: -rounds and -seconds must be 1 or more")
	}
	if o.peers, err = parsePeers(*peers); err != nil {
		return o, err
	}
	if o.only, err = regexp.Compile(*only); err != nil {
		return o, fmt.Errorf("bench: -only: %w", err)
	}
	return o, nil
}

func main() {
	o, err := parse(os.Args[1:])
	if err == flag.ErrHelp {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch {
	case err != nil:
	case o.echoServer:
		err = echo.Serve(ctx, "127.0.0.1:0", func(addr string) { fmt.Println(addr) })
	default:
		err = run(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
