package cli

import (
	"github.com/spf13/cobra"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/view"
	"github.com/ashlar-storage/ashlar/rpc/ops"
)

func (a *app) tokenCommand() *cobra.Command {
	var role string
	create := &cobra.Command{Use: "create NAME", Short: "Make a token for somebody",
		Long: "Makes a token for the admin listeners of daemons, and the line that gives it to " +
			"NAME in the file\nthat their setting admin_tokens names. The token itself is kept " +
			"nowhere: hand it over, it is not\nshown again. Taking the line away takes it back.",
		Args: exactArgs("NAME"),
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := ops.ParseRole(role)
			if err != nil {
				return usage("token create: --role: %v", err)
			}
			token, line, err := ops.NewToken(ops.Owner{Name: args[0], Role: r})
			if err != nil {
				return usage("token create: %v", err)
			}
			return a.print(view.Token{Owner: args[0], Role: role, Token: token, Line: line})
		}}
	create.Flags().StringVar(&role, "role", ops.Viewer.String(),
		"viewer: metrics and counters; tracer: profiles and traces too")
	a.outputFlag(create)
	return noun("token", "Who may use the admin listeners", create)
}
