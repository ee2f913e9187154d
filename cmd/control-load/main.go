package main

import (
	"fmt"
	"os"

	"github.com/ashlar-storage/ashlar/controlplane/load"
)

func main() {
	if err := load.Main(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "control-load:", err)
		os.Exit(1)
	}
}
