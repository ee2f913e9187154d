package load

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/ashlar-storage/ashlar/controlplane/schedule"
	"github.com/ashlar-storage/ashlar/controlplane/server"
)

// serve is the process that is measured: a control plane that tells its address on out, and then,
// for each line on in, for how many nanoseconds its lock was held at most since the one before. It
// ends with in.
func serve(dir string, in io.Reader, out, log io.Writer) error {
	limits := schedule.DefaultLimits()
	limits.LostAfter = lostAfter
	errors := slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelError})
	s, err := server.New(server.Config{Listen: "127.0.0.1:0", DataDir: dir, Schedule: limits,
		HeartbeatInterval: interval, Logger: slog.New(errors)})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	fmt.Fprintln(out, s.Addr())
	for asked := bufio.NewScanner(in); asked.Scan(); {
		fmt.Fprintln(out, s.LongestHold().Nanoseconds())
	}
	cancel()
	return <-done
}
