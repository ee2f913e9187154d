package main

import (
	"fmt"
	"os"

	"github.com/ashlar-storage/ashlar/perf/guest"
)

func main() {
	if guest.First() {
		guest.Init()
		return
	}
	if err := command(os.Args[1:]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
