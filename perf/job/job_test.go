package job

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func parse(t *testing.T, text string) []*Job {
	t.Helper()
	jobs, err := Parse(Source{Name: "a.fio", Text: text}, Env{})
	if err != nil {
		t.Fatal(err)
	}
	return jobs
}

func TestSectionsTakeWhatGlobalSaysAndStandAlone(t *testing.T) {
	jobs := parse(t, `; a comment
[global]
ioengine=null
size=1g
bs = 8k
iodepth=4
[writes]
rw=randwrite
# another
[reads]
stonewall
rw=read
iodepth=32
numjobs=2
group_reporting
`)
	if len(jobs) != 2 {
		t.Fatalf("%d jobs", len(jobs))
	}
	w, r := jobs[0], jobs[1]
	if w.Name != "writes" || w.Reads != 0 || !w.Random || w.Depth != 4 || w.Wait || w.Grouped ||
		w.Blocks[Write][0].Bytes != 8192 || w.Size.Bytes != 1<<30 {
		t.Errorf("writes: %+v", w)
	}
	if r.Name != "reads" || r.Reads != 100 || r.Random || r.Depth != 32 || !r.Wait || !r.Grouped ||
		r.Clones != 2 {
		t.Errorf("reads: %+v", r)
	}
	if len(r.Global) != 4 || len(r.Own) != 5 || r.Own[2].Where != "a.fio:13" {
		t.Errorf("as written: %+v %+v", r.Global, r.Own)
	}
}

func TestUnitsAreThoseOfFio(t *testing.T) {
	j := parse(t, "[a]\nioengine=null\nrw=randrw\nsize=2t\nio_size=512\noffset=3m\nbs=4K,64kb\n"+
		"norandommap\nruntime=90\nramp_time=2s\nthinktime=50\nrwmixread=70\n")[0]
	if j.Size.Bytes != 2<<40 || j.IOSize != 512 || j.Offset.Bytes != 3<<20 ||
		j.Blocks[Read][0].Bytes != 4096 || j.Blocks[Write][0].Bytes != 65536 || j.Reads != 70 ||
		j.Runtime != 90*time.Second || j.Ramp != 2*time.Second || j.Think != 50*time.Microsecond {
		t.Errorf("%+v", j)
	}
}

func TestBlockSizesSplitAndRange(t *testing.T) {
	const head = "[a]\nioengine=null\nsize=1g\nrw=write\n"
	for text, want := range map[string][]Share{
		"bssplit=4k/70:64k":    {{4096, 70}, {65536, 30}},
		"bssplit=4k/:8k/50":    {{4096, 50}, {8192, 50}},
		"bsrange=4k-16k":       {{4096, 1}, {8192, 1}, {12288, 1}, {16384, 1}},
		"bs=512":               {{512, 1}},
		"bssplit=4k/60,8k/100": {{8192, 100}},
	} {
		if text == "bssplit=4k/60,8k/100" {
			if _, err := Parse(Source{Text: head + text}, Env{}); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: %v", text, err)
			}
			continue
		}
		if got := parse(t, head+text)[0].Blocks[Write]; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

func TestMistakesNameFileLineOptionAndFix(t *testing.T) {
	const ok = "[a]\nioengine=null\nsize=1g\n"
	const file = "[a]\nioengine=uring\nfilename=f\nrw=write\n"
	for text, want := range map[string][]string{
		"":                          {"a.fio", "[name]"},
		"rw=read\n":                 {"a.fio:1", "[global]"},
		"[global]\nbs=4k\n":         {"add a section"},
		"[a\n":                      {"a.fio:1", "[name]"},
		ok + "rww=read\n":           {"a.fio:4", `"rww"`, "did you mean rw?"},
		ok + "mem=malloc\n":         {"a.fio:4", "mem", "not supported"},
		ok + "rw=trim\n":            {"a.fio:4", "rw=trim", "not supported"},
		ok + "rw=up\n":              {"a.fio:4", "rw=up", "randwrite"},
		ok + "bs=4ki\n":             {"a.fio:4", "bs=4ki", "1000 for fio"},
		ok + "bs=4x\n":              {"a.fio:4", `"x"`, "k, m, g or t"},
		ok + "bs=0\n":               {"bs=0", "block size"},
		ok + "size=101%\n":          {"1% to 100%"},
		ok + "runtime=5y\n":         {"a.fio:4", "30s"},
		ok + "iodepth=0\n":          {"iodepth=0", "1 to 4096"},
		ok + "iodepth\n":            {"iodepth", "no value"},
		ok + "verify=md5\n":         {"verify=md5", "crc32c"},
		ok + "bs=${NO}\n":           {"a.fio:4", "NO", "set it"},
		ok + "random_generator=x\n": {"not supported"},
		ok + "rw=randread\nrandom_distribution=zipf:1\n":  {"THETA"},
		ok + "random_distribution=zipf:1.1\n":             {"randread"},
		ok + "time_based\n":                               {"job a", "runtime=30s"},
		ok + "thinktime=10\niodepth=2\n":                  {"iodepth=1"},
		ok + "rate_process=poisson\n":                     {"rate_iops=1000"},
		ok + "rw=randrw\nrate_iops=9\nrwmixread=10\n":     {"rwmixread"},
		ok + "verify=crc32c\n":                            {"null stores nothing"},
		ok + "filename=x\n":                               {"has no filename"},
		ok + "log_avg_msec=9\n":                           {"write_bw_log"},
		ok + "rw=randwrite\nbsrange=4k-8k\n":              {"norandommap=1"},
		ok + "percentile_list=50:101\n":                   {"50:99:99.9"},
		"[a]\nioengine=null\n":                            {"size=1g"},
		"[a]\nsize=1g\n":                                  {"ioengine", "ashlar, nbd"},
		"[a]\nioengine=uring\n":                           {"filename", "needs it"},
		"[a]\nioengine=ashlar\nvolume=v\nuri=nbd://x/y\n": {"has no uri"},
		"[a]\nioengine=net\nsize=1g\nsync=dsync\n":        {"stores nothing"},
		file + "verify=pattern\n":                         {"verify_pattern="},
		file + "verify_pattern=7\n":                       {"verify=pattern"},
		file + "verify=crc32c\nnumjobs=2\n": {
			"offset_increment"},
	} {
		_, err := Parse(Source{Name: "a.fio", Text: text}, Env{})
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: error = %v", text, err)
			continue
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q: %v does not say %q", text, err, w)
			}
		}
	}
}

func TestEnvironmentFillsVariables(t *testing.T) {
	jobs, err := Parse(Source{Text: "[a]\nioengine=null\nsize=${S}g\n"},
		Env{Lookup: func(name string) (string, bool) { return "4", name == "S" }})
	if err != nil || jobs[0].Size.Bytes != 4<<30 {
		t.Errorf("%v", err)
	}
}

func TestCommandLineBeginsAJobWithEachName(t *testing.T) {
	at := func(name, value string) Setting { return Setting{name, value, "command line"} }
	jobs, err := FromOptions([]Setting{at("ioengine", "null"), at("size", "1m"), at("name", "a"),
		at("rw", "write"), at("name", "b"), at("iodepth", "2")})
	if err != nil || len(jobs) != 2 || jobs[0].Reads != 0 || jobs[0].Depth != 1 ||
		jobs[1].Reads != 100 || jobs[1].Depth != 2 || jobs[1].Engine != "null" {
		t.Fatalf("%v: %+v", err, jobs)
	}
	if jobs, err = FromOptions([]Setting{at("ioengine", "null"), at("size", "1m")}); err != nil ||
		len(jobs) != 1 {
		t.Errorf("without a name: %v, %v", jobs, err)
	}
}

func TestOptionsOfTheCommandLineWinOverTheFile(t *testing.T) {
	jobs, err := Parse(Source{Text: "[global]\nioengine=null\nsize=1m\n[a]\nbs=8k\n[b]\n"}, Env{},
		Setting{Name: "bs", Value: "16k"})
	if err != nil || jobs[0].Blocks[Read][0].Bytes != 16384 ||
		jobs[1].Blocks[Read][0].Bytes != 16384 {
		t.Errorf("%v", err)
	}
}

func TestPatternsAreRead(t *testing.T) {
	for text, want := range map[string]struct {
		p  string
		at int
	}{
		"0xdeadbeef": {"\xde\xad\xbe\xef", -1}, `"ab"`: {"ab", -1}, "171": {"\xab", -1},
		`"x%oy"`: {"x" + strings.Repeat("\x00", 8) + "y", 1}, "%o": {strings.Repeat("\x00", 8), 0},
	} {
		p, at, err := patternOf(text)
		if err != nil || string(p) != want.p || at != want.at {
			t.Errorf("%s: %x at %d, %v", text, p, at, err)
		}
	}
	for _, text := range []string{"", "0x", "0xabc", "256", `"`, `""`, "abc"} {
		if _, _, err := patternOf(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestSweepRunsEachJobAtEachDepth(t *testing.T) {
	jobs, err := Sweep(parse(t, "[a]\nioengine=null\nsize=1g\niodepth=3\n[b]\nioengine=null\n"+
		"size=1g\n"), []int{1, 32})
	if err != nil || len(jobs) != 4 {
		t.Fatalf("%v, %d jobs", err, len(jobs))
	}
	j := jobs[3]
	if j.Name != "b-qd32" || j.Depth != 32 || !j.Wait || j.Own[len(j.Own)-1].Value != "32" {
		t.Errorf("%+v", j)
	}
	for _, d := range []int{0, depthMax + 1} {
		if _, err := Sweep(jobs, []int{d}); !errors.Is(err, ErrInvalid) {
			t.Errorf("depth %d: %v", d, err)
		}
	}
}

// An option cannot be both understood and refused.
func TestNoOptionIsBothSupportedAndNot(t *testing.T) {
	for _, name := range others {
		if find(name) != nil {
			t.Errorf("%s is on both lists", name)
		}
	}
	seen := map[string]bool{}
	for _, o := range Options() {
		if seen[o.Name] || o.Help == "" {
			t.Errorf("%s: twice, or without help", o.Name)
		}
		seen[o.Name] = true
	}
}

func FuzzParse(f *testing.F) {
	f.Add("[global]\nioengine=null\nsize=1g\n[a]\nrw=randrw\nbssplit=4k/70:64k/30\nnorandommap\n")
	f.Add("[a]\nverify_pattern=\"%o\"\nbs=${X}\n")
	f.Fuzz(func(t *testing.T, text string) {
		jobs, err := Parse(Source{Name: "f", Text: text}, Env{})
		if err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("error of no class: %v", err)
		}
		for _, j := range jobs {
			if j.Depth < 1 || len(j.Blocks[Read]) == 0 || len(j.Blocks[Write]) == 0 {
				t.Errorf("%+v", j)
			}
		}
	})
}
