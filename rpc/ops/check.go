package ops

import (
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// CheckCatalog is for tests: what a registry serves under the project's name must be what a catalog
// lists, with the kind and the help that it says, and the other way round.
func CheckCatalog(t interface {
	Helper()
	Errorf(format string, args ...any)
}, reg prometheus.Gatherer, list []Info) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Errorf("gather: %v", err)
	}
	served := map[string]bool{}
	for _, f := range families {
		name := f.GetName()
		if !strings.HasPrefix(name, "ashlar_") {
			continue
		}
		served[name] = true
		i := slices.IndexFunc(list, func(m Info) bool { return m.Name == name })
		if i < 0 {
			t.Errorf("%s is served and not in the catalog", name)
			continue
		}
		if m := list[i]; !strings.EqualFold(string(m.Kind), f.GetType().String()) ||
			m.Help != f.GetHelp() {
			t.Errorf("%s is served as %v %q, the catalog says %s %q", name, f.GetType(),
				f.GetHelp(), m.Kind, m.Help)
		}
	}
	for _, m := range list {
		if !served[m.Name] {
			t.Errorf("%s is in the catalog and not served", m.Name)
		}
		if !strings.HasSuffix(m.Name, m.Unit) && !strings.HasSuffix(m.Name, m.Unit+"_total") {
			t.Errorf("%s does not name its unit %s", m.Name, m.Unit)
		}
	}
}
