// Package fio runs the fio program for one job and reads the figures out of its JSON.
//
// Latencies are fio's total ones (lat_ns: submission to completion) in ns. A job that fails gives
// an error with the end of what fio said. fio 3 is needed; Find says so when it is not there.
//
//	res, err := fio.Run(ctx, fio.Job{Options: []string{"ioengine=io_uring", "direct=1",
//		"filename=x"}, RW: "randread", Block: 4096, Depth: 32, Size: 1 << 30, Seconds: 3})
package fio
