package admin

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jhump/protoreflect/desc"
	"github.com/jhump/protoreflect/desc/protoparse"
)

var update = flag.Bool("update", false, "add what is new in the interface to its golden file")

func parseIDL(t *testing.T) *desc.FileDescriptor {
	t.Helper()
	files, err := protoparse.Parser{ImportPaths: []string{"idl"}}.ParseFiles("ashlar.proto")
	if err != nil {
		t.Fatal(err)
	}
	return files[0]
}

// surface is everything of the interface that a client may rely on, a line each.
func surface(f *desc.FileDescriptor) (lines []string) {
	for _, m := range f.GetMessageTypes() {
		for _, x := range m.GetFields() {
			kind := strings.ToLower(strings.TrimPrefix(x.GetType().String(), "TYPE_"))
			if x.GetMessageType() != nil {
				kind = x.GetMessageType().GetName()
			}
			if x.IsRepeated() {
				kind = "repeated " + kind
			}
			lines = append(lines, fmt.Sprintf("%s.%s = %d %s", m.GetName(), x.GetName(),
				x.GetNumber(), kind))
		}
	}
	for _, s := range f.GetServices() {
		for _, m := range s.GetMethods() {
			lines = append(lines, fmt.Sprintf("%s/%s(%s) %s", s.GetFullyQualifiedName(),
				m.GetName(), m.GetInputType().GetName(), m.GetOutputType().GetName()))
		}
	}
	slices.Sort(lines)
	return lines
}

func TestInterfaceOnlyGrows(t *testing.T) {
	path := filepath.Join("testdata", "interface-v1.golden")
	raw, err := os.ReadFile(path)
	if err != nil && !*update {
		t.Fatal(err)
	}
	was := strings.Split(strings.TrimSpace(string(raw)), "\n")
	now := surface(parseIDL(t))
	for _, line := range was {
		if line != "" && !slices.Contains(now, line) {
			t.Errorf("%q is not in the interface any more: clients of this version break", line)
		}
	}
	if !*update {
		for _, line := range now {
			if !slices.Contains(was, line) {
				t.Errorf("%q is new: go test ./rpc/admin -run Interface -update", line)
			}
		}
		return
	}
	if !t.Failed() {
		if err := os.WriteFile(path, []byte(strings.Join(now, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMethodNamesAreUniqueAcrossServices(t *testing.T) {
	of := map[string]string{}
	for _, s := range parseIDL(t).GetServices() {
		for _, m := range s.GetMethods() {
			if other := of[m.GetName()]; other != "" {
				t.Errorf("%s and %s both have %s", other, s.GetName(), m.GetName())
			}
			of[m.GetName()] = s.GetName()
		}
	}
}

func TestManualNamesEveryMethodAndCode(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", "api.md"))
	if err != nil {
		t.Fatal(err)
	}
	page := string(raw)
	for _, s := range parseIDL(t).GetServices() {
		for _, m := range s.GetMethods() {
			if !strings.Contains(page, "`"+m.GetName()+"`") {
				t.Errorf("docs/api.md does not name %s of %s", m.GetName(), s.GetName())
			}
		}
	}
	for _, c := range classes {
		if !strings.Contains(page, fmt.Sprintf("| %d |", c.code)) {
			t.Errorf("docs/api.md does not name the code %d (%v)", c.code, c.class)
		}
	}
}
