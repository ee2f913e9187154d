package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/config"
	"github.com/ashlar-storage/ashlar/cmd/ashlar/view"
)

// app is one run of the program.
type app struct {
	version        string
	stdout, stderr io.Writer

	// Values of the flags that every command has.
	endpoint, data    string
	output            string
	logLevel, logForm string
}

// Main runs the command that args name and returns the exit status of the process.
func Main(version string, args []string, stdout, stderr io.Writer) int {
	a := &app{version: version, stdout: stdout, stderr: stderr}
	root := a.root()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(context.Background())
	if err != nil {
		fmt.Fprintf(stderr, "ashlar: %s\n", oneLine(err))
	}
	return exitStatus(err)
}

// oneLine keeps an error on one line, whatever it quotes.
func oneLine(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool {
		return r == '\n' || r == '\r'
	}), " ")
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "ashlar",
		Short: "A replicated block store built for latency",
		Long: "Ashlar is a replicated block store built for latency.\n\n" +
			"  ashlar up --data DIR --volume vol --size 4GiB   a cluster on this machine\n" +
			"  ashlar cluster status --data DIR                how it is",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("unknown command %q; `ashlar --help` lists them", args[0])
			}
			return cmd.Help()
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("%v; see `%s --help`", err, cmd.CommandPath())
	})
	flags := root.PersistentFlags()
	flags.StringVar(&a.logLevel, "log-level", "", "debug, info, warn or error")
	flags.StringVar(&a.logForm, "log-format", "", "text or json")
	root.AddGroup(&cobra.Group{ID: "cluster", Title: "A cluster on this machine:"},
		&cobra.Group{ID: "look", Title: "Volumes and status:"},
		&cobra.Group{ID: "daemon", Title: "Separate daemons:"})
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("cluster", a.upCommand(), a.checkCommand(), a.benchCommand())
	add("look", a.clusterCommand(), a.volumeCommand(), a.dirCommand(), a.copysetCommand(),
		a.eventsCommand(), a.explainCommand())
	add("look", noun("store", "Disks of the nodes",
		slices.Concat(a.storeCommands(), a.drainStoreCommands(), a.offlineStoreCommands())...))
	add("look", a.operatorCommand(), a.schedulerCommand(), a.scrubCommand(), a.poolCommand(),
		a.dfCommand(), a.traceCommand(), a.rdmaCommand())
	add("daemon", a.nodeCommand(), a.controlCommand(), a.gatewayCommand(), a.tokenCommand())
	root.AddCommand(a.versionCommand())
	demandVerbs(root)
	return root
}

// demandVerbs makes a noun without a known verb a usage error instead of a page of help.
func demandVerbs(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		demandVerbs(c)
		if c.HasSubCommands() && c.RunE == nil {
			c.Args = cobra.ArbitraryArgs
			c.RunE = func(cmd *cobra.Command, args []string) error {
				var verbs []string
				for _, v := range cmd.Commands() {
					verbs = append(verbs, v.Name())
				}
				if len(args) > 0 {
					return usage("%s: unknown verb %q: use one of %s", cmd.CommandPath(),
						args[0], strings.Join(verbs, ", "))
				}
				return usage("%s: a verb is missing: use one of %s", cmd.CommandPath(),
					strings.Join(verbs, ", "))
			}
		}
	}
}

// exactArgs demands the named arguments.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == len(names) {
			return nil
		}
		want := "no arguments"
		if len(names) > 0 {
			want = strings.Join(names, " ")
		}
		return usage("%s: want %s, got %d arguments; see `%[1]s --help`", cmd.CommandPath(), want,
			len(args))
	}
}

// atLeast demands one argument or more.
func atLeast(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return nil
		}
		return usage("%s: want %s, got no arguments; see `%[1]s --help`", cmd.CommandPath(), name)
	}
}

// outputFlag gives a command -o.
func (a *app) outputFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&a.output, "output", "o", "table", strings.Join(view.Formats, ", "))
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(view.Formats,
		cobra.ShellCompDirectiveNoFileComp))
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if !view.KnownFormat(a.output) {
			return usage("--output %q: use one of %s", a.output, strings.Join(view.Formats, ", "))
		}
		return nil
	}
}

func (a *app) print(v view.Tabler) error { return view.Write(a.stdout, a.output, v) }

// logger writes to w what the flags, and else the settings, ask for.
func (a *app) logger(w io.Writer, l config.Log) (*slog.Logger, error) {
	level := slog.LevelInfo
	if text := firstOf(a.logLevel, l.Level); text != "" {
		if err := level.UnmarshalText([]byte(text)); err != nil {
			return nil, usage("--log-level %q: use debug, info, warn or error", text)
		}
	}
	opt := &slog.HandlerOptions{Level: level}
	switch form := firstOf(a.logForm, l.Format); form {
	case "", "text":
		return slog.New(slog.NewTextHandler(w, opt)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opt)), nil
	default:
		return nil, usage("--log-format %q: use text or json", form)
	}
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// env is os.Getenv, in one place.
func env(name string) string { return os.Getenv(name) }
