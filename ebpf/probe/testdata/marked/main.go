// Command marked is a process for tests to attach to: it sends as many records as it is told.
package main

import (
	"bufio"
	"fmt"
	"os"

	"github.com/ashlar-storage/ashlar/ebpf/mark"
)

func main() {
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var what string
		var n uint64
		if _, err := fmt.Sscan(in.Text(), &what, &n); err != nil {
			fmt.Println("error", err)
			continue
		}
		switch what {
		case "ops":
			var ops []mark.Op
			for i := range n {
				ops = append(ops, mark.Op{Session: 1 << 60, ID: i, Copyset: 7, Term: 3,
					Index: i + 1, Volume: 9, Offset: i << 12, Length: 4096, Kind: 2, Been: 0x51,
					Status: 300, Arrived: int64(i), Node: 11, Store: 12,
					Spent: [mark.Stages]int64{1, 2, 3, 4, 5, 6, 7}})
			}
			mark.Ops(ops)
		case "appends":
			mark.Appends([]mark.Append{{Copyset: n, Term: 2, First: 3, Count: 4, Bytes: 5,
				Queued: 6, Began: 7, Durable: 8, Taken: 9, Node: 10, Store: 11}})
		case "acks":
			mark.Acks([]mark.Ack{{Copyset: n, Term: 2, Index: 3, At: 4, From: 5, Node: 6,
				Store: 7}})
		}
		fmt.Println(mark.Attached())
	}
}
