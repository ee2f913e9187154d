package main

import (
	"fmt"
	"os"

	"github.com/ashlar-storage/ashlar/controlplane/schedule/sim"
)

func main() {
	if err := sim.Main(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "control-sim:", err)
		os.Exit(1)
	}
}
