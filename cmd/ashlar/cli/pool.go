package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/config"
	"github.com/ashlar-storage/ashlar/cmd/ashlar/view"
	"github.com/ashlar-storage/ashlar/controlplane/placement"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// part is a fraction, written as a percentage or as a number: 2% or 0.02.
type part float64

func (p *part) String() string { return strconv.FormatFloat(100*float64(*p), 'g', 6, 64) + "%" }
func (p *part) Type() string   { return "percent" }

func (p *part) Set(text string) error {
	number, percent := strings.CutSuffix(strings.TrimSpace(text), "%")
	v, err := strconv.ParseFloat(number, 64)
	if percent {
		v /= 100
	}
	if err != nil || !(v > 0 && v <= 1) {
		return fmt.Errorf("%.40q: write a part as 2%% or 0.02, more than 0 and at most 100%%", text)
	}
	*p = part(v)
	return nil
}

// speed is bytes per second, written as a size with or without /s.
type speed struct{ config.Size }

func (s *speed) String() string        { return s.Size.String() + "/s" }
func (s *speed) Type() string          { return "size/s" }
func (s *speed) Set(text string) error { return s.Size.Set(strings.TrimSuffix(text, "/s")) }

// failing is what a user assumes of stores.
type failing struct {
	afr      part
	rate     speed
	after    time.Duration
	rebuild  string
	failures uint16
}

func (f *failing) flags(cmd *cobra.Command, rebuild string) {
	m := placement.DefaultModel()
	f.afr, f.rate = part(m.AFR), speed{config.Size(m.RebuildRate)}
	flags := cmd.Flags()
	flags.Var(&f.afr, "afr", "annual failure rate: the part of the stores that fails in a year")
	flags.Var(&f.rate, "rebuild-rate", "what one store reads or writes for rebuilds")
	flags.DurationVar(&f.after, "rebuild-after", m.Detect,
		"time from a failure until its rebuild begins")
	flags.StringVar(&f.rebuild, "rebuild", rebuild,
		"who takes a failed store's replicas: others, or place, a new disk in its place")
	flags.Uint16Var(&f.failures, "failures", 0,
		"stores that fail in one moment (default: as many as there are replicas)")
}

func (f *failing) check() error {
	switch {
	case f.rebuild != "" && f.rebuild != "others" && f.rebuild != "place":
		return usage("--rebuild %.40q: use others or place", f.rebuild)
	case f.rate.Size == 0:
		return usage("--rebuild-rate is zero: write it as 100MiB/s")
	case f.after < 0:
		return usage("--rebuild-after %v: want a time from 0s on", f.after)
	}
	return nil
}

func (a *app) poolCommand() *cobra.Command {
	return noun("pool", "How safe data is, and how many copysets share it",
		a.poolDurabilityCommand(), a.poolPlanCommand(), a.poolGrowCommand())
}

func (a *app) poolGrowCommand() *cobra.Command {
	to := uint32(0)
	cmd := a.listing("grow", "Make copysets on stores that came", exactArgs(),
		func(ctx context.Context, c *admin.Clients, _ []string) (view.Tabler, error) {
			r, err := c.Admin.GrowPool(ctx, &ashlar.GrowPoolRequest{Copysets: uint64(to)})
			return view.FromPoolGrowth(r), err
		})
	cmd.Long = "Make copysets beside those that there are, most of them where fewest lie for the " +
		"size of a disk. What is stored stays where it is; new volumes, and what volumes grow " +
		"by, lie on all of them. There is no way back: copysets are never taken away."
	cmd.Flags().Uint32Var(&to, "copysets", 0,
		"how many there are to be (default: as many as a new pool would get)")
	return cmd
}

func (a *app) poolDurabilityCommand() *cobra.Command {
	var f failing
	var full bool
	cmd := a.listing("durability", "How likely the copysets of the cluster lose data", exactArgs(),
		func(ctx context.Context, c *admin.Clients, _ []string) (view.Tabler, error) {
			if err := f.check(); err != nil {
				return nil, err
			}
			after := f.after.Milliseconds()
			if after == 0 {
				after = -1
			}
			r, err := c.Admin.GetPoolDurability(ctx, &ashlar.GetPoolDurabilityRequest{
				Afr: float64(f.afr), RebuildBytesPerSecond: uint64(f.rate.Size),
				RebuildAfterMs: after, Rebuild: f.rebuild, Failures: uint64(f.failures),
				Full: full})
			return view.FromPoolDurability(r), err
		})
	f.flags(cmd, "")
	cmd.Flags().BoolVar(&full, "full", false, "as if every store were full, not as it is")
	return cmd
}

func (a *app) poolPlanCommand() *cobra.Command {
	var f failing
	p := placement.Planned{Replicas: 3}
	capacity, fill := config.Size(0), part(1)
	cmd := &cobra.Command{Use: "plan --stores N --zones Z --capacity SIZE", Args: exactArgs(),
		Short: "How safe a pool would be, by scatter width",
		RunE: func(*cobra.Command, []string) error {
			if err := f.check(); err != nil {
				return err
			}
			if p.Stores == 0 || p.Zones == 0 || capacity == 0 {
				return usage("pool plan: --stores, --zones and --capacity say what is planned, " +
					"as --stores 60 --zones 6 --capacity 4TB")
			}
			p.BytesEach = float64(capacity) * float64(fill)
			p.Failures = int(f.failures)
			p.Model = placement.Model{AFR: float64(f.afr), RebuildRate: float64(f.rate.Size),
				Detect: f.after, InPlace: f.rebuild == "place"}
			options, err := placement.Options(p)
			if err != nil {
				return err
			}
			return a.print(view.FromPlan(p, uint64(capacity), options))
		}}
	rebuild := "others"
	if placement.DefaultModel().InPlace {
		rebuild = "place"
	}
	f.flags(cmd, rebuild)
	flags := cmd.Flags()
	flags.IntVar(&p.Stores, "stores", 0, "stores of the pool")
	flags.IntVar(&p.Zones, "zones", 0, "zones that they are spread over evenly")
	flags.Var(&capacity, "capacity", "capacity of each store")
	flags.Var(&fill, "fill", "part of it that is used")
	flags.IntVar(&p.Replicas, "replicas", p.Replicas, "replicas of a copyset")
	flags.IntVar(&p.ScatterWidth, "scatter-width", 0, "a width to show beside the usual ones")
	a.outputFlag(cmd)
	return cmd
}
