package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/config"
	"github.com/ashlar-storage/ashlar/cmd/ashlar/view"
	"github.com/ashlar-storage/ashlar/dataplane/store"
	"github.com/ashlar-storage/ashlar/io/chunkfile"
	"github.com/ashlar-storage/ashlar/io/disk"
	"github.com/ashlar-storage/ashlar/io/wal"
)

// progressEvery is how often a long check says how far it is.
const progressEvery = 2 * time.Second

// errDamaged ends a check that found damage; what it found is in the output.
var errDamaged = errors.New("damaged")

// offlineStoreCommands are the verbs of `store` for a store on which no node runs. All but format
// write nothing there.
func (a *app) offlineStoreCommands() []*cobra.Command {
	return []*cobra.Command{a.storeCheckCommand(), a.dumpLogCommand(), a.dumpChunkCommand(),
		a.storeFormatCommand()}
}

// offline makes a verb that looks at a directory and prints a document.
func (a *app) offline(use, short string, args cobra.PositionalArgs,
	f func(ctx context.Context, d disk.Disk, args []string) (view.Tabler, error)) *cobra.Command {
	force := false
	cmd := &cobra.Command{Use: use, Short: short, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := a.lookAt(args[0], force)
			if err != nil {
				return err
			}
			defer d.Close()
			doc, err := f(cmd.Context(), d, args)
			if doc == nil {
				return err
			}
			return errors.Join(a.print(doc), err)
		}}
	cmd.Flags().BoolVar(&force, "force", false, "look at a store that a running node uses; what "+
		"changes meanwhile may look damaged")
	a.outputFlag(cmd)
	return cmd
}

// lookAt opens a store's directory or device without changing it.
func (a *app) lookAt(dir string, force bool) (disk.Disk, error) {
	log, err := a.logger(a.stderr, config.Log{Level: "warn"})
	if err != nil {
		return nil, err
	}
	d, err := disk.OpenReadOnly(dir, disk.ReadOnlyConfig{Logger: log})
	switch {
	case errors.Is(err, disk.ErrLocked) && force:
		fmt.Fprintf(a.stderr, "ashlar: %s; looking all the same: what is being written may look "+
			"damaged\n", oneLine(err))
		return disk.OpenReadOnly(dir, disk.ReadOnlyConfig{Logger: log, Shared: true})
	case errors.Is(err, disk.ErrLocked):
		return nil, fmt.Errorf("%w; stop the node to look at its store, or look with --force", err)
	case errors.Is(err, disk.ErrNotExist), errors.Is(err, disk.ErrInvalid):
		return nil, usage("%.200s: no directory or device of a store: %v", dir, err)
	}
	return d, err
}

func (a *app) storeCheckCommand() *cobra.Command {
	quick := false
	cmd := a.offline("check DIR", "Verify everything in a store, offline",
		exactArgs("DIR"),
		func(ctx context.Context, d disk.Disk, args []string) (view.Tabler, error) {
			r, err := store.Check(ctx, store.CheckConfig{Disk: d, Path: args[0], Data: !quick,
				Progress: a.progress()})
			if err != nil {
				return nil, err
			}
			if n := r.Damaged(); n > 0 {
				err = fmt.Errorf("%s: %w: %d findings, see the output", args[0], errDamaged, n)
			}
			return view.FromCheck(r), err
		})
	cmd.Flags().BoolVar(&quick, "quick", false, "leave the blocks' data out: log and metadata only")
	return cmd
}

// progress says now and then how far a check is.
func (a *app) progress() func(store.Progress) {
	last := time.Now()
	return func(p store.Progress) {
		if time.Since(last) < progressEvery {
			return
		}
		last = time.Now()
		of := ""
		if p.Total > 0 {
			of = fmt.Sprintf(" of %d", p.Total)
		}
		fmt.Fprintf(a.stderr, "ashlar: %s: %d%s, %s\n", p.Area, p.Done, of,
			humanize.IBytes(p.Bytes))
	}
}

func (a *app) dumpLogCommand() *cobra.Command {
	var q store.LogQuery
	var from uint64
	cmd := a.offline("dump-wal DIR", "Print the log of a store, offline", exactArgs("DIR"),
		func(ctx context.Context, d disk.Disk, args []string) (view.Tabler, error) {
			if q.Limit < 0 {
				return nil, usage("dump-wal: --limit %d: use a number from 0 on", q.Limit)
			}
			q.From, q.OneFile = wal.LSN(from), q.Segment >= 0
			dump, err := store.DumpLog(ctx, d, args[0], q)
			if err != nil {
				return nil, err
			}
			return view.FromLog(args[0], dump), nil
		})
	flags := cmd.Flags()
	flags.IntVar(&q.Segment, "segment", -1, "only this file, 12 for 00000012.seg; shows "+
		"superseded frames too")
	flags.Uint64Var(&q.Group, "group", 0, "only records of this copyset")
	flags.Uint64Var(&from, "from", 0, "begin at this position of the log")
	flags.IntVar(&q.Limit, "limit", 1000, "records at most; 0: all")
	flags.BoolVar(&q.Payload, "payload", false, "print the payload of each record too")
	return cmd
}

func (a *app) dumpChunkCommand() *cobra.Command {
	var blocks string
	var slot int64
	var hex bool
	cmd := a.offline("dump-chunk DIR CHUNK", "Print the slot file of a chunk, offline",
		func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 || len(args) == 1 && slot >= 0 {
				return nil
			}
			return usage("%s: want DIR and a chunk, as copyset/volume/index, or DIR and --slot N",
				cmd.CommandPath())
		},
		func(_ context.Context, d disk.Disk, args []string) (view.Tabler, error) {
			q, err := chunkQuery(args, slot, blocks)
			if err != nil {
				return nil, err
			}
			q.Data = hex
			dump, err := store.DumpChunk(d, args[0], q)
			if err != nil {
				return nil, err
			}
			return view.FromChunk(dump), nil
		})
	flags := cmd.Flags()
	flags.Int64Var(&slot, "slot", -1, "the slot file by its number, in place of a chunk")
	flags.StringVar(&blocks, "blocks", "", "look at these blocks too: 7 or 0-15")
	flags.BoolVar(&hex, "hex", false, "print the bytes of these blocks")
	return cmd
}

// chunkQuery reads what names a slot and blocks.
func chunkQuery(args []string, slot int64, blocks string) (q store.ChunkQuery, err error) {
	q.To = -1
	switch {
	case len(args) == 2 && slot >= 0:
		return q, usage("dump-chunk: CHUNK and --slot name it twice: keep one")
	case slot >= 0:
		q.Slot, q.BySlot = uint64(slot), true
	default:
		if q.ID, err = parseChunk(args[1]); err != nil {
			return q, err
		}
	}
	if blocks == "" {
		return q, nil
	}
	first, last, isRange := strings.Cut(blocks, "-")
	if !isRange {
		last = first
	}
	from, err1 := strconv.ParseUint(first, 10, 31)
	to, err2 := strconv.ParseUint(last, 10, 31)
	if err1 != nil || err2 != nil || from > to {
		return q, usage("--blocks %.40q: use a number or a range, such as 7 or 0-15", blocks)
	}
	q.From, q.To = int(from), int(to)
	return q, nil
}

// parseChunk reads copyset/volume/index.
func parseChunk(text string) (id chunkfile.ID, err error) {
	parts := strings.Split(text, "/")
	if len(parts) != 3 {
		return id, usage("chunk %.60q: use copyset/volume/index, such as 3/1/17", text)
	}
	for i, n := range [...]*uint64{&id.Group, &id.Volume, &id.Index} {
		if *n, err = strconv.ParseUint(parts[i], 10, 64); err != nil {
			return id, usage("chunk %.60q: use copyset/volume/index, such as 3/1/17", text)
		}
	}
	return id, nil
}

// noun makes a command of verbs.
func noun(use, short string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short}
	cmd.AddCommand(verbs...)
	return cmd
}
