package output

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"sort"
	"strings"
	"testing"
)

// need skips where a program is missing; where the lane is claimed to run (LANE=required) it fails.
func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		if os.Getenv("LANE") == "required" {
			t.Fatalf("%s is not installed: run deploy/install.sh", program)
		}
		t.Skipf("%s is not installed: run deploy/install.sh", program)
	}
}

// fio runs the program on a job file.
func fio(t *testing.T, text string, args ...string) []byte {
	t.Helper()
	need(t, "fio")
	name := filepath.Join(t.TempDir(), "a.fio")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("fio", append(args, name)...).Output()
	if err != nil {
		t.Fatalf("fio: %v: %s", err, out)
	}
	return out
}

// paths lists every key of a document with the kind of its value. Keys that are values themselves
// (bins) are one.
func paths(at string, v any, to map[string]string) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if strings.HasSuffix(at, ".bins") {
				k = "N"
			}
			paths(at+"."+k, x, to)
		}
	case []any:
		for _, x := range v {
			paths(at+"[]", x, to)
		}
	default:
		to[at] = fmt.Sprint(reflect.TypeOf(v))
	}
}

func schema(t *testing.T, text []byte) map[string]string {
	t.Helper()
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	paths("", v, out)
	return out
}

func TestDocumentHasEveryKeyOfFiosAndItsKind(t *testing.T) {
	for form, plus := range map[string]bool{"json": false, "json+": true} {
		theirs := schema(t, fio(t, twoGroups, "--output-format="+form))
		text, err := report(t, twoGroups).JSON(plus)
		if err != nil {
			t.Fatal(err)
		}
		ours := schema(t, text)
		var missing, more []string
		for k, kind := range theirs {
			if strings.HasPrefix(k, ".disk_util") || ours[k] == kind ||
				strings.Contains(k, ".slat_ns.percentile") || strings.Contains(k, ".slat_ns.bins") {
				continue
			}
			missing = append(missing, k+" "+kind+", ours "+ours[k])
		}
		for k := range ours {
			if theirs[k] == "" && !strings.Contains(k, ".ashlar") {
				more = append(more, k)
			}
		}
		sort.Strings(missing)
		sort.Strings(more)
		if len(missing) > 0 || len(more) > 0 || len(theirs) < 150 {
			t.Errorf("%s: %d keys; not as fio's: %v; only ours: %v", form, len(theirs), missing,
				more)
		}
	}
}

func TestTerseLineHasTheFieldsOfFio(t *testing.T) {
	const text = "[a]\nioengine=null\nsize=1m\nrw=randrw\n"
	theirs := strings.Split(strings.TrimSpace(string(fio(t, text, "--output-format=terse",
		"--terse-version=3"))), ";")
	ours := strings.Split(strings.TrimSpace(report(t, text).Terse()), ";")
	if len(ours) != len(theirs) {
		t.Fatalf("%d fields, fio has %d:\n%v\n%v", len(ours), len(theirs), ours, theirs)
	}
	for i := range ours {
		if strings.HasSuffix(ours[i], "%") != strings.HasSuffix(theirs[i], "%") ||
			strings.Contains(ours[i], "=") != strings.Contains(theirs[i], "=") {
			t.Errorf("field %d is %q, fio's %q", i, ours[i], theirs[i])
		}
	}
}

// fio's own tool reads our histograms.
func TestFiosToolReadsOurHistograms(t *testing.T) {
	need(t, "fio_jsonplus_clat2csv")
	text, err := report(t, twoGroups).JSON(true)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	name := filepath.Join(dir, "out.json")
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("fio_jsonplus_clat2csv", name, filepath.Join(dir, "out.csv"))
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	tables, _ := filepath.Glob(filepath.Join(dir, "out*.csv"))
	if len(tables) != 2 {
		t.Fatalf("tables: %v", tables)
	}
	table, err := os.ReadFile(tables[1])
	if err != nil || !strings.Contains(string(table), ", 768,") {
		t.Errorf("%v: no cumulative count of 768 in\n%s", err, table)
	}
}
