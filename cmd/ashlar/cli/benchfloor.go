package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/config"
	"github.com/ashlar-storage/ashlar/cmd/ashlar/view"
	"github.com/ashlar-storage/ashlar/perf/compare"
	"github.com/ashlar-storage/ashlar/perf/floor"
)

// measureHere stands for --floor without a file.
const measureHere = "measure"

const (
	floorSize  = 256 << 20
	floorBlock = 4096
	floorFor   = 2 * time.Second
)

func (a *app) benchFloorCommand() *cobra.Command {
	size, block := config.Size(floorSize), config.Size(floorBlock)
	cfg := floor.Config{Dir: ".", For: floorFor}
	cmd := &cobra.Command{Use: "floor", Args: exactArgs(),
		Short: "Measure what this machine can do at best: raw file, round trip, CPU",
		Long: "Measures a direct read and a durable write of a file in --dir, at depth 1 and 32, " +
			"the round trip of a frame over the loopback, and what the CPU needs for the work of " +
			"every operation. `-o json` writes the file that `ashlar bench --floor=FILE` takes.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, unix.SIGTERM)
			defer stop()
			if cfg.For <= 0 || size < block || block < 512 {
				return usage("bench floor: --for must be above zero, --block 512 or more, --size " +
					"not below it")
			}
			cfg.Size, cfg.Block = int64(size), int(block)
			f, err := a.measureFloor(ctx, cfg)
			if err != nil {
				return err
			}
			return a.print(view.Floor{Floor: *f})
		}}
	f := cmd.Flags()
	f.StringVar(&cfg.Dir, "dir", cfg.Dir, "where the file is made, and removed: the disk to "+
		"measure")
	f.Var(&size, "size", "of the file")
	f.Var(&block, "block", "of each operation")
	f.DurationVar(&cfg.For, "for", cfg.For, "each of five measurements")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) measureFloor(ctx context.Context, cfg floor.Config) (*floor.Floor, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	cfg.Echo = []string{self, "bench", "echo"}
	cfg.Say = func(format string, args ...any) { fmt.Fprintf(a.stderr, format+"\n", args...) }
	return floor.Measure(ctx, cfg)
}

// theFloor is what --floor asks for; nil when it does not.
func (r *benchRun) theFloor(ctx context.Context) (*floor.Floor, error) {
	switch r.floor {
	case "":
		return nil, nil
	case measureHere:
		return r.app.measureFloor(ctx, floor.Config{Dir: r.dir, Size: floorSize,
			Block: floorBlock, For: floorFor})
	}
	return floor.Load(r.floor)
}

func (a *app) benchCompareCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "compare A.json B.json", Args: exactArgs("A.json", "B.json"),
		Short: "Compare two reports of several runs each: medians, spread, significance",
		RunE: func(_ *cobra.Command, args []string) error {
			before, err := compare.Read(args[0])
			if err != nil {
				return err
			}
			after, err := compare.Read(args[1])
			if err != nil {
				return err
			}
			lines, err := compare.Compare(before, after)
			if err != nil {
				return err
			}
			return a.print(view.Comparison(lines))
		}}
	a.outputFlag(cmd)
	return cmd
}
