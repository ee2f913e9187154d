package main

import (
	"os"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/cli"
)

// version is set by the linker; see the Makefile.
var version = "dev"

func main() {
	os.Exit(cli.Main(version, os.Args[1:], os.Stdout, os.Stderr))
}
