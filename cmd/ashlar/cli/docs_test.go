package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/config"
	"github.com/ashlar-storage/ashlar/cmd/ashlar/view"
)

func manual(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", page))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// flagName finds flags in a help text.
var flagName = regexp.MustCompile(`--[a-z-]+`)

func TestManualNamesEveryCommandAndFlag(t *testing.T) {
	text := manual(t, "cli.md")
	a := &app{stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}}
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		for _, c := range cmd.Commands() {
			visit(c)
			if !strings.Contains(text, c.Name()) {
				t.Errorf("docs/cli.md does not name %q", c.CommandPath())
			}
			for _, flag := range flagName.FindAllString(c.LocalFlags().FlagUsages(), -1) {
				if !strings.Contains(text, flag) && flag != "--output" {
					t.Errorf("docs/cli.md does not name %s of %q", flag, c.CommandPath())
				}
			}
		}
	}
	visit(a.root())
}

func TestManualNamesEveryFieldOfTheListings(t *testing.T) {
	text := manual(t, "cli.md")
	for _, v := range []any{view.VolumeDetail{}, view.Cluster{}, view.Node{}, view.Copyset{},
		view.PoolDurability{}, view.PoolPlan{}, view.PoolGrowth{}, view.Operators{},
		view.Scheduler{}, view.Directory{}, view.Removed{}, view.Trashed{}, view.Event{},
		view.Explanation{}, view.StoreCheck{}, view.FormattedStore{}, view.LogDump{},
		view.ChunkDump{}, view.RDMA{}} {
		tagged(reflect.TypeOf(v), "json", func(key string) {
			if !strings.Contains(text, "`"+key+"`") {
				t.Errorf("docs/cli.md does not name the field %s of %T", key, v)
			}
		})
	}
}

func TestManualNamesEverySetting(t *testing.T) {
	text := manual(t, "config.md")
	for _, v := range []any{config.Node{}, config.Control{}, config.Gateway{}} {
		tagged(reflect.TypeOf(v), "yaml", func(key string) {
			// Of sections, their own keys have them before the dot.
			named := key == "log" || key == "etcd" || key == "rdma"
			for _, section := range []string{"", "log.", "etcd.", "rdma."} {
				named = named || strings.Contains(text, "`"+section+key+"`")
			}
			if !named {
				t.Errorf("docs/config.md does not name the key %s of %T", key, v)
			}
		})
	}
}

// tagged calls f with the key of every field of a struct and of the structs in it.
func tagged(t reflect.Type, tag string, f func(key string)) {
	for t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return
	}
	for i := range t.NumField() {
		field := t.Field(i)
		if key, _, _ := strings.Cut(field.Tag.Get(tag), ","); key != "" {
			f(key)
		}
		tagged(field.Type, tag, f)
	}
}
