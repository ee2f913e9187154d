package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/ashlar-storage/ashlar/perf/page"
)

func (a *app) benchSweepCommand() *cobra.Command {
	r := &benchRun{app: a}
	cmd := &cobra.Command{Use: "sweep [JOBFILE...]", Args: cobra.ArbitraryArgs,
		Short: "Run each job at one depth after the other: the curve of latency against rate",
		Long: "Runs every job once for each of --depths, one after the other, named after its " +
			"depth. With --output-format=json the report is what `ashlar bench report` draws.",
		RunE: r.command}
	cmd.Flags().IntSliceVar(&r.depths, "depths", []int{1, 2, 4, 8, 16, 32, 64, 128},
		"operations at one time")
	r.flags(cmd)
	return cmd
}

func (a *app) benchReportCommand() *cobra.Command {
	to, title := "", ""
	cmd := &cobra.Command{Use: "report FILE.json... -o PAGE.html", Args: atLeast("FILE.json"),
		Short: "Draw reports: one HTML page with curves, percentiles, costs and a table",
		RunE: func(_ *cobra.Command, args []string) error {
			if to == "" {
				return usage("bench report: --output is missing: name the page to write")
			}
			d, err := page.Read(args...)
			if err != nil {
				return err
			}
			if err := os.WriteFile(to, d.HTML(title), 0o644); err != nil {
				return fmt.Errorf("bench report: %w", err)
			}
			return nil
		}}
	cmd.Flags().StringVarP(&to, "output", "o", "", "the page")
	cmd.Flags().StringVar(&title, "title", "Ashlar measurements", "its heading")
	return cmd
}
