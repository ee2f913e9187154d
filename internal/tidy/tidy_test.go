package tidy

import (
	"bufio"
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"
)

const (
	module = "github.com/ashlar-storage/ashlar"

	fileLinesMax  = 800
	funcLinesMax  = 70
	funcLinesLong = 35
	// At most this share of production functions may be longer than funcLinesLong.
	funcLongPercentMax = 2
	columnsMax         = 100
	tabColumns         = 4
)

// evidence is how tests and lanes leave their counts: no part of the product may import it.
const evidence = module + "/internal/evidence"

// loopback is how a cluster of one machine gets its addresses: no node or control plane may.
const loopback = module + "/internal/loopback"

// marks is what every layer may tell a tracer by; what a tracer is made of, none may know.
const marks = module + "/ebpf/mark"

// rooms says what a folder may import of this module; folders absent from the table may import
// nothing of it.
var rooms = map[string][]string{
	"cmd":          {"cmd", "controlplane", "dataplane", "ebpf", "perf", "rpc", "io"},
	"controlplane": {"controlplane", "rpc"},
	"dataplane":    {"dataplane", "rpc", "io"},
	"ebpf":         {"ebpf"},
	"perf":         {"perf", "rpc", "io"},
	"rpc":          {"rpc", "io"},
	"io":           {"io"},
}

// banned calls, by the folders where they are banned ("" is everywhere), with the replacement.
var banned = []struct{ folder, call, instead string }{
	{"", "log.Print*", "log/slog, handed in by Config"},
	{"", "log.Fatal*", "an error returned to the caller"},
	{"", "log.Panic*", "an error returned to the caller"},
	{"", "ioutil.*", "os or io"},
	{"", "os.IsNotExist", "errors.Is(err, fs.ErrNotExist)"},
	{"", "os.IsExist", "errors.Is(err, fs.ErrExist)"},
	{"io", "fmt.Print*", "log/slog, handed in by Config"},
	{"rpc", "fmt.Print*", "log/slog, handed in by Config"},
	{"dataplane", "fmt.Print*", "log/slog, handed in by Config"},
	{"controlplane", "fmt.Print*", "log/slog, handed in by Config"},
	{"io", "os.Exit", "an error returned to the caller"},
	{"rpc", "os.Exit", "an error returned to the caller"},
	{"dataplane", "os.Exit", "an error returned to the caller"},
	{"controlplane", "os.Exit", "an error returned to the caller"},
	{"io", "time.Sleep", "a timer that a Close can end"},
	{"dataplane", "time.Sleep", "a timer that a Close can end"},
}

// forbidden words name a place or a habit that a reader elsewhere cannot follow. They are spelled
// in two halves so that this file passes its own test.
var forbidden = []*regexp.Regexp{
	regexp.MustCompile(`(^|[\s"'(=:])/(wo` + `rk|ro` + `ot|ho` + `me)/`),
	regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|X` + `XX)\b`),
}

// panicPrefix is how the message of a panic begins: package name, colon.
var panicPrefix = regexp.MustCompile(`^"[a-z0-9]+: `)

type source struct {
	path      string // slash path from the root
	text      []byte
	file      *ast.File
	generated bool
	test      bool
}

type tree struct {
	fset    *token.FileSet
	sources []*source
	other   []string // tracked text files that are not Go
}

func TestTreeIsTidy(t *testing.T) {
	tr := load(t, filepath.Join("..", ".."))
	if len(tr.sources) < 10 {
		t.Fatalf("only %d Go files found: the test looks in the wrong place", len(tr.sources))
	}
	checks := []struct {
		name string
		find func(*tree) []string
	}{
		{"ImportsPointOneWay", findImports},
		{"NoPackageIsNamedIO", findPackageNames},
		{"FilesAndFunctionsAreShort", findLengths},
		{"LinesFitTheColumns", findColumns},
		{"BannedCallsAreAbsent", findBannedCalls},
		{"PanicsNameTheirPackage", findPanics},
		{"EveryPackageHasADoc", findMissingDocs},
		{"SourceIsFormatted", findUnformatted},
		{"DocumentsHaveOneTitle", findTitles},
		{"WordsMeanSomethingElsewhere", findForbidden},
	}
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			for _, finding := range c.find(tr) {
				t.Error(finding)
			}
		})
	}
}

// load parses every Go file below root and lists the documents.
func load(t *testing.T, root string) *tree {
	t.Helper()
	tr := &tree{fset: token.NewFileSet()}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if rel != "." && strings.HasPrefix(d.Name(), ".") && d.Name() != ".ci" ||
				rel == "bin" || rel == "data" {
				return filepath.SkipDir
			}
			return nil
		}
		return tr.add(path, rel)
	})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func (tr *tree) add(path, rel string) error {
	if strings.Contains(rel, "/testdata/") {
		return nil
	}
	if !strings.HasSuffix(rel, ".go") {
		switch filepath.Ext(rel) {
		case ".md", ".sh", ".yaml", ".yml", ".txt", ".proto", ".service", ".c", ".h", ".s", "":
			tr.other = append(tr.other, rel)
		}
		return nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	file, err := parser.ParseFile(tr.fset, path, text, parser.ParseComments)
	if err != nil {
		return err
	}
	tr.sources = append(tr.sources, &source{
		path: rel, text: text, file: file,
		generated: ast.IsGenerated(file),
		test:      strings.HasSuffix(rel, "_test.go"),
	})
	return nil
}

func (tr *tree) at(s *source, pos token.Pos) string {
	return fmt.Sprintf("%s:%d", s.path, tr.fset.Position(pos).Line)
}

func folder(path string) string { return strings.SplitN(path, "/", 2)[0] }

func findImports(tr *tree) (found []string) {
	for _, s := range tr.sources {
		from := folder(s.path)
		for _, imp := range s.file.Imports {
			name := strings.Trim(imp.Path.Value, `"`)
			if !strings.HasPrefix(name, module+"/") {
				continue
			}
			to := folder(strings.TrimPrefix(name, module+"/"))
			if name == evidence && leavesCounts(s) || name == loopback && startsProcesses(s) ||
				name == marks {
				continue
			}
			if !mayImport(from, to) {
				found = append(found, fmt.Sprintf("%s: import: %s may not import %s",
					tr.at(s, imp.Pos()), from, name))
			}
		}
	}
	return found
}

// leavesCounts tells a test, or a program that is a lane.
func leavesCounts(s *source) bool {
	return s.test || folder(s.path) == "internal" || strings.HasPrefix(s.path, "cmd/kernel/")
}

// startsProcesses tells a test or what only tests use, or a part of the program that runs a cluster
// on one machine.
func startsProcesses(s *source) bool {
	return s.test || folder(s.path) == "cmd" || folder(s.path) == "perf" ||
		strings.HasPrefix(s.path, "controlplane/meta/etcdtest/")
}

func mayImport(from, to string) bool {
	for _, allowed := range rooms[from] {
		if allowed == to {
			return true
		}
	}
	return false
}

func findPackageNames(tr *tree) (found []string) {
	for _, s := range tr.sources {
		if name := s.file.Name.Name; name == "io" || name == "util" || name == "common" {
			found = append(found, fmt.Sprintf("%s: package name %q says nothing, or hides the "+
				"standard one: name the noun it holds", s.path, name))
		}
	}
	return found
}

func findLengths(tr *tree) (found []string) {
	functions, long := 0, 0
	for _, s := range tr.sources {
		if s.generated {
			continue
		}
		if n := bytes.Count(s.text, []byte("\n")); n > fileLinesMax {
			found = append(found, fmt.Sprintf("%s: file: %d lines, at most %d: split it by idea",
				s.path, n, fileLinesMax))
		}
		for _, decl := range s.file.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			n := tr.fset.Position(fn.End()).Line - tr.fset.Position(fn.Pos()).Line + 1
			if n > funcLinesMax {
				found = append(found, fmt.Sprintf("%s: func %s: %d lines, at most %d",
					tr.at(s, fn.Pos()), fn.Name.Name, n, funcLinesMax))
			}
			if s.test {
				continue
			}
			functions++
			if n > funcLinesLong {
				long++
			}
		}
	}
	if long*100 > functions*funcLongPercentMax {
		found = append(found, fmt.Sprintf("%d of %d functions are longer than %d lines, at most "+
			"%d %%", long, functions, funcLinesLong, funcLongPercentMax))
	}
	return found
}

func findColumns(tr *tree) (found []string) {
	for _, s := range tr.sources {
		if s.generated {
			continue
		}
		scanner := bufio.NewScanner(bytes.NewReader(s.text))
		scanner.Buffer(nil, 1<<20)
		for line := 1; scanner.Scan(); line++ {
			if n := columns(scanner.Text()); n > columnsMax {
				found = append(found, fmt.Sprintf("%s:%d: line: %d columns, at most %d",
					s.path, line, n, columnsMax))
			}
		}
	}
	return found
}

func columns(line string) (n int) {
	for _, r := range line {
		if r == '\t' {
			n += tabColumns - n%tabColumns
		} else {
			n++
		}
	}
	return n
}

func findBannedCalls(tr *tree) (found []string) {
	for _, s := range tr.sources {
		if s.generated || s.test {
			continue
		}
		std := standardNames(s.file)
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			id, ok := sel.X.(*ast.Ident)
			if !ok || id.Obj != nil || std[id.Name] == "" {
				return true
			}
			call := std[id.Name] + "." + sel.Sel.Name
			for _, b := range banned {
				if matches(b.call, call) && (b.folder == "" || b.folder == folder(s.path)) {
					found = append(found, fmt.Sprintf("%s: %s: use %s",
						tr.at(s, sel.Pos()), call, b.instead))
				}
			}
			return true
		})
	}
	return found
}

// standardNames maps the names by which a file calls standard packages to those packages' own.
func standardNames(file *ast.File) map[string]string {
	names := map[string]string{}
	for _, imp := range file.Imports {
		path := strings.Trim(imp.Path.Value, `"`)
		base := path[strings.LastIndex(path, "/")+1:]
		if path != "log" && path != "fmt" && path != "os" && path != "time" &&
			path != "io/ioutil" {
			continue
		}
		if imp.Name != nil {
			names[imp.Name.Name] = base
		} else {
			names[base] = base
		}
	}
	return names
}

func matches(pattern, call string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(call, prefix)
	}
	return pattern == call
}

func findPanics(tr *tree) (found []string) {
	for _, s := range tr.sources {
		if s.generated || s.test {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 1 {
				return true
			}
			if id, ok := call.Fun.(*ast.Ident); !ok || id.Name != "panic" {
				return true
			}
			if lit := firstLiteral(call.Args[0]); lit == "" || !panicPrefix.MatchString(lit) {
				found = append(found, fmt.Sprintf("%s: panic: only for a broken invariant, with "+
					"a message that begins with the package name", tr.at(s, call.Pos())))
			}
			return true
		})
	}
	return found
}

// firstLiteral returns the leftmost string literal of an expression, or nothing.
func firstLiteral(e ast.Expr) (lit string) {
	ast.Inspect(e, func(n ast.Node) bool {
		if l, ok := n.(*ast.BasicLit); ok && lit == "" && l.Kind == token.STRING {
			lit = l.Value
		}
		return lit == ""
	})
	return lit
}

func findMissingDocs(tr *tree) (found []string) {
	packages := map[string]bool{}
	for _, s := range tr.sources {
		dir := filepath.ToSlash(filepath.Dir(s.path))
		if s.generated || strings.Contains(dir, "kitex_gen") {
			continue
		}
		packages[dir] = packages[dir] ||
			strings.HasSuffix(s.path, "/doc.go") && s.file.Doc != nil
	}
	for dir, documented := range packages {
		if !documented {
			found = append(found, dir+": package: no doc.go with a package comment")
		}
	}
	sort.Strings(found)
	return found
}

func findUnformatted(tr *tree) (found []string) {
	for _, s := range tr.sources {
		if s.generated {
			continue
		}
		if want, err := format.Source(s.text); err == nil && !bytes.Equal(want, s.text) {
			found = append(found, s.path+": format: run gofmt -w")
		}
	}
	return found
}

func findTitles(tr *tree) (found []string) {
	for _, path := range tr.other {
		if !strings.HasSuffix(path, ".md") {
			continue
		}
		text, err := os.ReadFile(filepath.Join("..", "..", path))
		if err != nil {
			return append(found, err.Error())
		}
		titles, fenced := 0, false
		for _, line := range strings.Split(string(text), "\n") {
			if strings.HasPrefix(line, "```") {
				fenced = !fenced
			}
			if !fenced && strings.HasPrefix(line, "# ") {
				titles++
			}
		}
		if titles != 1 {
			found = append(found, fmt.Sprintf("%s: document: %d titles (# ...), want one",
				path, titles))
		}
	}
	return found
}

func findForbidden(tr *tree) (found []string) {
	check := func(path string, text []byte) {
		for i, line := range strings.Split(string(text), "\n") {
			for _, re := range forbidden {
				if word := re.FindString(line); word != "" {
					found = append(found, fmt.Sprintf("%s:%d: word: %q", path, i+1, word))
				}
			}
		}
	}
	for _, s := range tr.sources {
		check(s.path, s.text)
	}
	for _, path := range tr.other {
		text, err := os.ReadFile(filepath.Join("..", "..", path))
		if err != nil {
			return append(found, err.Error())
		}
		check(path, text)
	}
	return found
}
