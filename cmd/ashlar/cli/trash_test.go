package cli

import (
	"strings"
	"testing"

	ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

func TestWordForAVolumeOfTheTrashMeansExactlyOne(t *testing.T) {
	in := func(id uint64, name, state string) *ashlar.Trashed {
		return &ashlar.Trashed{Volume: &ashlar.Volume{VolumeId: id, Name: name, State: state}}
	}
	all := []*ashlar.Trashed{in(2, "a", "trashed"), in(3, "a", "trashed"), in(4, "b", "trashed"),
		in(5, "4", "trashed"), in(6, "gone", "deleting")}
	for _, c := range []struct {
		word string
		id   uint64
		says string
	}{
		{"b", 4, ""}, {"2", 2, ""}, {"5", 5, ""},
		{"a", 0, "2 (a), 3 (a)"},
		{"4", 0, "4 (b), 5 (4)"}, // a number and a name
		{"gone", 0, "no volume"}, {"6", 0, "no volume"}, {"x", 0, "no volume"},
	} {
		id, err := pickTrashed(all, c.word)
		if id != c.id || (err == nil) != (c.says == "") ||
			err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %d, %v", c.word, id, err)
		}
	}
}

// TestEveryVerbOfTheClusterHasAllFormats keeps scripts from reading tables.
func TestEveryVerbOfTheClusterHasAllFormats(t *testing.T) {
	// A daemon's own verbs, and those that run until they are stopped.
	without := map[string]bool{"run": true, "check-config": true, "print-defaults": true}
	a := &app{}
	for _, noun := range a.root().Commands() {
		if noun.GroupID == "cluster" || noun.Name() == "trace" || noun.Name() == "completion" {
			continue
		}
		for _, verb := range append(noun.Commands(), noun) {
			if verb.HasSubCommands() || without[verb.Name()] {
				continue
			}
			if f := verb.Flags().Lookup("output"); f == nil || f.Shorthand != "o" ||
				!strings.Contains(f.Usage, "json") || !strings.Contains(f.Usage, "yaml") {
				t.Errorf("%s has no -o with json and yaml", verb.CommandPath())
			}
		}
	}
}
