package monitoring

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

const root = "../../.."

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// rule is one of a file of rules.
type rule struct {
	Record, Alert, Expr, For string
	Labels, Annotations      map[string]string
}

func rules(t *testing.T, name string) (list []rule) {
	t.Helper()
	var file struct {
		Groups []struct {
			Name, Interval string
			Rules          []rule
		}
	}
	dec := yaml.NewDecoder(strings.NewReader(string(read(t, name))))
	dec.KnownFields(true)
	if err := dec.Decode(&file); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	for _, g := range file.Groups {
		list = append(list, g.Rules...)
	}
	if len(list) == 0 {
		t.Fatalf("%s has no rules", name)
	}
	return list
}

const (
	recordingFile = "deploy/prometheus/recording.yml"
	alertsFile    = "deploy/prometheus/alerts.yml"
	examplesFile  = "deploy/prometheus/alerts_test.yml"
	alertsPage    = "docs/alerts.md"
)

// withRecorded adds what the recording rules record, with the labels that they group by or, where
// they do not group, those of their metrics.
func withRecorded(t *testing.T, all series) series {
	t.Helper()
	for _, r := range rules(t, recordingFile) {
		if err := all.check(r.Expr); err != nil {
			t.Errorf("%s: %s: %v", recordingFile, r.Record, err)
		}
		e, err := scan(r.Expr)
		if err != nil || len(e.selectors) == 0 {
			continue
		}
		labels := e.grouped
		if len(labels) == 0 {
			labels = all[e.selectors[0].metric]
		}
		all[r.Record] = slices.DeleteFunc(slices.Clone(labels), func(l string) bool {
			return l == "le"
		})
	}
	return all
}

func TestRulesNameOnlyWhatIsServed(t *testing.T) {
	all := withRecorded(t, catalog())
	for _, r := range rules(t, alertsFile) {
		if err := all.check(r.Expr); err != nil {
			t.Errorf("%s: %v\n%s", r.Alert, err, r.Expr)
		}
		if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
			t.Errorf("%s has the severity %q", r.Alert, r.Labels["severity"])
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s says nothing to whom it wakes", r.Alert)
		}
	}
}

func TestEveryAlertHasExamplesAndASectionOfTheManual(t *testing.T) {
	var examples struct {
		RuleFiles []string `yaml:"rule_files"`
		Interval  string   `yaml:"evaluation_interval"`
		Tests     []struct {
			Name, Interval string
			Input          []struct{ Series, Values string } `yaml:"input_series"`
			Alerts         []struct {
				At     string `yaml:"eval_time"`
				Name   string `yaml:"alertname"`
				Wanted []struct {
					Labels      map[string]string `yaml:"exp_labels"`
					Annotations map[string]string `yaml:"exp_annotations"`
				} `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	if err := yaml.Unmarshal(read(t, examplesFile), &examples); err != nil {
		t.Fatal(err)
	}
	all, fires, rests := catalog(), map[string]bool{}, map[string]bool{}
	for _, test := range examples.Tests {
		for _, in := range test.Input {
			if err := all.check(in.Series); err != nil {
				t.Errorf("%s: %v", test.Name, err)
			}
		}
		for _, a := range test.Alerts {
			if len(a.Wanted) > 0 {
				fires[a.Name] = true
			} else {
				rests[a.Name] = true
			}
		}
	}
	page := string(read(t, alertsPage))
	for _, r := range rules(t, alertsFile) {
		if !fires[r.Alert] || !rests[r.Alert] {
			t.Errorf("%s: fires in an example: %v, does not in another: %v", r.Alert,
				fires[r.Alert], rests[r.Alert])
		}
		if !strings.Contains(page, "\n### "+r.Alert+"\n\n") {
			t.Errorf("%s has no section %s", alertsPage, r.Alert)
		}
		want := "/" + alertsPage + "#" + strings.ToLower(r.Alert)
		if !strings.HasSuffix(r.Annotations["runbook_url"], want) {
			t.Errorf("%s: runbook_url %q does not lead to %s", r.Alert,
				r.Annotations["runbook_url"], want)
		}
	}
	for _, section := range regexp.MustCompile(`(?m)^### (\w+)$`).FindAllStringSubmatch(page, -1) {
		if !fires[section[1]] {
			t.Errorf("%s tells of %s, which does not exist", alertsPage, section[1])
		}
	}
}

func TestAlertsFireOnTheirExamples(t *testing.T) {
	tool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("PROMTOOL") == "required" {
			t.Fatal(err)
		}
		t.Skip("needs promtool (package prometheus); PROMTOOL=required makes this a failure")
	}
	for _, args := range [][]string{
		{"check", "rules", "alerts.yml", "recording.yml"}, {"test", "rules", "alerts_test.yml"},
	} {
		cmd := exec.Command(tool, args...)
		cmd.Dir = filepath.Join(root, "deploy/prometheus")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

// dashboard is what the tests look at of one.
type dashboard struct {
	UID, Title string
	Templating struct {
		List []struct{ Name, Type, Query string }
	}
	Panels []struct {
		ID          int
		Type, Title string
		FieldConfig struct{ Defaults struct{ Unit string } }
		Targets     []struct{ Expr string }
	}
}

var (
	question = regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)
	variable = regexp.MustCompile(`\$(\w+)`)
)

func TestDashboardsNameOnlyWhatIsServed(t *testing.T) {
	all := withRecorded(t, catalog())
	files, err := filepath.Glob(filepath.Join(root, "deploy/grafana/*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d dashboards, %v", len(files), err)
	}
	uids := map[string]string{}
	for _, file := range files {
		var d dashboard
		text, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(text, &d)
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if d.UID == "" || d.Title == "" || uids[d.UID] != "" {
			t.Errorf("%s: uid %q, title %q: %s has it too", file, d.UID, d.Title, uids[d.UID])
		}
		uids[d.UID] = file
		for _, what := range d.wrong(all) {
			t.Errorf("%s: %s", filepath.Base(file), what)
		}
	}
}

// wrong is everything that is wrong with a dashboard.
func (d *dashboard) wrong(all series) (list []string) {
	say := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	vars := map[string]bool{}
	for _, v := range d.Templating.List {
		vars[v.Name] = true
		if v.Type != "query" {
			continue
		}
		m := question.FindStringSubmatch(v.Query)
		if m == nil {
			say("variable %s asks %q", v.Name, v.Query)
		} else if err := all.check("sum by (" + m[2] + ") (" + m[1] + ")"); err != nil {
			say("variable %s: %v", v.Name, err)
		}
	}
	ids, drawn := map[int]bool{}, 0
	for _, p := range d.Panels {
		if p.ID == 0 || ids[p.ID] || p.Title == "" {
			say("panel %d %q: its id is taken, or it has no title", p.ID, p.Title)
		}
		ids[p.ID] = true
		if p.Type == "row" {
			continue
		}
		if len(p.Targets) == 0 || p.FieldConfig.Defaults.Unit == "" {
			say("panel %q: %d expressions, unit %q", p.Title, len(p.Targets),
				p.FieldConfig.Defaults.Unit)
		}
		for _, target := range p.Targets {
			drawn++
			if err := all.check(target.Expr); err != nil {
				say("panel %q: %v\n%s", p.Title, err, target.Expr)
			}
			for _, v := range variable.FindAllStringSubmatch(target.Expr, -1) {
				if !vars[v[1]] {
					say("panel %q: no variable %s", p.Title, v[1])
				}
			}
		}
	}
	if drawn == 0 {
		say("it draws nothing")
	}
	return list
}
