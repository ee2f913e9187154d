package tidy

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the drawings of the sources into docs/formats.md")

const formatsPage = "../../docs/formats.md"

// formatSources are the files whose drawings the page must hold, every one of them.
var formatSources = []string{
	"io/disk/devformat.go", "io/wal/format.go", "io/wal/frame.go", "io/chunkfile/format.go",
	"dataplane/copyset/command.go", "dataplane/copyset/state.go", "dataplane/copyset/dedup.go",
	"dataplane/copyset/message.go",
	"dataplane/peer/codec.go", "ebpf/remote/wire.go",
	"rpc/wire/header.go", "rpc/wire/io.go", "rpc/wire/hello.go", "rpc/rdma/format.go",
	"controlplane/meta/backupformat.go",
}

// layouts are the drawings that list fields by offset: which function writes them, and which
// constant is the size of their fixed part.
var layouts = []struct {
	drawing, function, constant string
}{
	{"io/disk/devformat.go | Superblock", "superblock.encode", "superblockUsed"},
	{"io/disk/devformat.go | Entry of the directory", "entry.put", "entryName"},
	{"io/wal/format.go | Segment header", "segmentHeader.put", "segmentHeaderUsed"},
	{"io/wal/format.go | Identity file", "identity.encode", ""},
	{"io/wal/frame.go | Descriptor", "frameHeader.put", "frameHeaderSize"},
	{"io/wal/frame.go | Record", "putRecord", "recordHeaderSize"},
	{"io/chunkfile/format.go | A half is", "encodeHeader", ""},
	{"rpc/wire/io.go | Metadata of a block request", "", "requestFixed"},
	{"rpc/wire/io.go | and of an answer", "", "responseFixed"},
	{"rpc/wire/hello.go | Metadata of a greeting", "", "helloFixed"},
	{"controlplane/meta/backupformat.go | Header of a backup", "Backup.put", ""},
	{"controlplane/meta/backupformat.go | Part of a backup", "putPart", "backupPartHead"},
	{"controlplane/meta/backupformat.go | End of a backup", "putEnd", ""},
}

// versions says where the page's table of versions comes from, and a golden file whose byte at
// an offset must be that version.
var versions = []struct {
	structure, file, constant, golden string
	at                                int
}{
	{"device", "io/disk/devformat.go", "deviceVersion", "io/disk/testdata/device-v1.golden", 8},
	{"entry of a device's directory", "io/disk/devformat.go", "entryVersion",
		"io/disk/testdata/device-v1.golden", 512 + 8},
	{"log", "io/wal/format.go", "formatVersion", "io/wal/testdata/log.golden", 8},
	{"slot file", "io/chunkfile/format.go", "formatV1", "io/chunkfile/testdata/half-v1.golden", 8},
	{"command", "dataplane/copyset/command.go", "commandVersion",
		"dataplane/copyset/testdata/command-write.txt", 1},
	{"checkpoint state", "dataplane/copyset/state.go", "statePlain",
		"dataplane/copyset/testdata/state.txt", 0},
	{"checkpoint state while the membership changes", "dataplane/copyset/state.go", "stateJoint",
		"dataplane/copyset/testdata/state-joint.txt", 0},
	{"checkpoint state with runs of erased volumes", "dataplane/copyset/state.go", "stateErased",
		"dataplane/copyset/testdata/state-erased.txt", 0},
	{"the same while the membership changes", "dataplane/copyset/state.go", "stateJointErased",
		"dataplane/copyset/testdata/state-joint-erased.txt", 0},
	{"raft message", "dataplane/copyset/message.go", "messageVersion",
		"dataplane/copyset/testdata/message-append.txt", 0},
	{"stream of a trace", "ebpf/remote/wire.go", "streamVersion",
		"ebpf/remote/testdata/stream-v1.golden", 8},
	{"frame of the wire", "rpc/wire/limits.go", "FrameVersion", "rpc/wire/testdata/header.txt", 4},
	{"message of an RDMA connection", "rpc/rdma/format.go", "FormatVersion",
		"rpc/rdma/testdata/message-head.txt", 2},
	{"backup of the metadata", "controlplane/meta/backupformat.go", "backupVersion",
		"controlplane/meta/testdata/backup-v1.golden", 8},
}

// drawing is an indented block of a comment, with the paragraph before it.
type drawing struct{ title, text string }

// drawingsOf returns the drawings of a source file in their order.
func drawingsOf(t *testing.T, file string) (list []drawing) {
	t.Helper()
	fset := token.NewFileSet()
	parsed, err := parser.ParseFile(fset, filepath.Join("../..", file), nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	for _, group := range parsed.Comments {
		var title, block []string
		end := func() {
			if len(block) > 0 {
				text := strings.TrimRight(strings.Join(block, "\n"), "\n")
				list = append(list, drawing{strings.Join(title, " "), text})
			}
			title, block = nil, nil
		}
		ended := false // a paragraph
		for _, c := range group.List {
			line := strings.TrimPrefix(c.Text, "//")
			switch {
			case strings.HasPrefix(line, "\t"):
				block = append(block, line[1:])
			case line == "" && len(block) > 0:
				block = append(block, "")
			case line == "":
				ended = true
			default:
				if len(block) > 0 || ended {
					end()
				}
				title, ended = append(title, strings.TrimSpace(line)), false
			}
		}
		end()
	}
	return list
}

// find returns the drawing that a key "file | beginning of the title" names.
func find(t *testing.T, key string) string {
	t.Helper()
	file, title, _ := strings.Cut(key, " | ")
	for _, d := range drawingsOf(t, file) {
		if strings.HasPrefix(d.title, title) {
			return d.text
		}
	}
	t.Fatalf("%s has no drawing below a paragraph that begins with %q", file, title)
	return ""
}

// inserted is a drawing in the page: a marker, and the fenced block behind it.
var inserted = regexp.MustCompile("(?s)<!-- drawing: ([^>]*?) -->\n```\n(.*?)```\n")

func TestThePageOfFormatsHoldsTheDrawingsOfTheSources(t *testing.T) {
	raw, err := os.ReadFile(formatsPage)
	if err != nil {
		t.Fatal(err)
	}
	page := inserted.ReplaceAllStringFunc(string(raw), func(block string) string {
		key := inserted.FindStringSubmatch(block)[1]
		return fmt.Sprintf("<!-- drawing: %s -->\n```\n%s\n```\n", key, find(t, key))
	})
	if *update {
		if err := os.WriteFile(formatsPage, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if page != string(raw) {
		t.Error("docs/formats.md differs from the sources: go test ./internal/tidy -run Formats " +
			"-update")
	}
	drawn := 0
	for _, file := range formatSources {
		for _, d := range drawingsOf(t, file) {
			drawn++
			if !strings.Contains(page, "```\n"+d.text+"\n```") {
				t.Errorf("docs/formats.md lacks the drawing of %s below %q", file, d.title)
			}
		}
	}
	if drawn < len(formatSources) {
		t.Fatalf("only %d drawings found: the test looks in the wrong place", drawn)
	}
}

// field is an entry of a drawing that lists offsets; size 0 where the drawing names none.
type field struct{ at, size int }

var (
	sizedField = regexp.MustCompile(
		`(?:^|[\s|])(\d+)\s+[a-z][^|]*?\s(?:u(8|16|32|64)\b|(\d+) bytes)`)
	firstField = regexp.MustCompile(`^\s*(\d+)\s+\S`)
)

// fieldsOf reads the offsets and sizes that a drawing names.
func fieldsOf(text string) (list []field) {
	for _, line := range strings.Split(text, "\n") {
		found := sizedField.FindAllStringSubmatch(line, -1)
		for _, m := range found {
			at, _ := strconv.Atoi(m[1])
			bits, _ := strconv.Atoi(m[2])
			size, _ := strconv.Atoi(m[3])
			list = append(list, field{at, max(bits/8, size)})
		}
		if m := firstField.FindStringSubmatch(line); m != nil && len(found) == 0 {
			at, _ := strconv.Atoi(m[1])
			list = append(list, field{at: at})
		}
	}
	return list
}

func TestFieldsOfTheDrawingsFollowEachOtherAndTheCode(t *testing.T) {
	for _, l := range layouts {
		fields := fieldsOf(find(t, l.drawing))
		if len(fields) < 4 {
			t.Errorf("%s: %d fields found: the drawing cannot be read", l.drawing, len(fields))
			continue
		}
		var starts []int
		for i, f := range fields {
			starts = append(starts, f.at)
			if i == 0 && f.at != 0 {
				t.Errorf("%s begins at byte %d", l.drawing, f.at)
			}
			if i > 0 && fields[i-1].size > 0 && fields[i-1].at+fields[i-1].size != f.at {
				t.Errorf("%s: the field at %d has %d bytes, the next is at %d", l.drawing,
					fields[i-1].at, fields[i-1].size, f.at)
			}
		}
		file, _, _ := strings.Cut(l.drawing, " | ")
		if l.constant != "" && !slices.Contains(starts, constant(t, file, l.constant)) {
			t.Errorf("%s: nothing begins at %s = %d", l.drawing, l.constant,
				constant(t, file, l.constant))
		}
		if l.function != "" {
			checkWriter(t, l.drawing, l.function, file, starts)
		}
	}
}

// stored finds what a function writes at a fixed offset.
var stored = regexp.MustCompile(`(?:PutUint(16|32|64)\(\w+(?:\[(\d*):\])?,|` +
	`(?:copy|putID)\(\w+\[(\d+):\]|\bpage\[(\d+)\] =)`)

// checkWriter compares the offsets in the code that writes a structure with its drawing.
func checkWriter(t *testing.T, drawing, function, file string, starts []int) {
	t.Helper()
	writes := stored.FindAllStringSubmatch(body(t, file, function), -1)
	if len(writes) < 4 {
		t.Errorf("%s: %d writes found in %s: the code cannot be read", drawing, len(writes),
			function)
	}
	for _, w := range writes {
		at, _ := strconv.Atoi(w[2] + w[3] + w[4])
		if !slices.Contains(starts, at) {
			t.Errorf("%s: %s writes at %d, where the drawing has no field", drawing, function, at)
		}
		if bits, _ := strconv.Atoi(w[1]); bits > 0 && !slices.Contains(starts, at+bits/8) {
			t.Errorf("%s: %s writes %d bytes at %d, and the drawing has no border behind them",
				drawing, function, bits/8, at)
		}
	}
}

// body returns the text of a function, named as f or as receiver.f.
func body(t *testing.T, file, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", file))
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	parsed, err := parser.ParseFile(fset, file, text, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, decl := range parsed.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		full := fn.Name.Name
		if fn.Recv != nil {
			if star, ok := fn.Recv.List[0].Type.(*ast.StarExpr); ok {
				full = star.X.(*ast.Ident).Name + "." + full
			}
		}
		if full == name {
			return string(text[fset.Position(fn.Pos()).Offset:fset.Position(fn.End()).Offset])
		}
	}
	t.Fatalf("%s has no function %s", file, name)
	return ""
}

// constant returns the value of a numeric constant of a file.
func constant(t *testing.T, file, name string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", file))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^(?:const|\t)\s*` + name + `\s*=\s*(\d+)`).FindSubmatch(text)
	if m == nil {
		t.Fatalf("%s has no constant %s", file, name)
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestVersionsOfThePageAreThoseOfTheCodeAndOfTheGoldenFiles(t *testing.T) {
	page, err := os.ReadFile(formatsPage)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range versions {
		want := constant(t, v.file, v.constant)
		row := fmt.Sprintf("| %s | %d |", v.structure, want)
		if !strings.Contains(string(page), row) {
			t.Errorf("docs/formats.md has no row %q", row)
		}
		if got := goldenByte(t, v.golden, v.at); got != want {
			t.Errorf("%s has version %d at byte %d, the code writes %d", v.golden, got, v.at, want)
		}
	}
}

// goldenByte returns a byte of a golden file, which holds bytes or, as .txt, lines of hex.
func goldenByte(t *testing.T, name string, at int) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../..", name))
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Ext(name) != ".txt" {
		return int(data[at])
	}
	line, _, _ := strings.Cut(string(data), "\n")
	n, err := strconv.ParseUint(strings.Fields(line)[1+at], 16, 8)
	if err != nil {
		t.Fatal(err)
	}
	return int(n)
}
