package suite

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/perf/job"
)

func parse(t *testing.T, text string) []*job.Job {
	t.Helper()
	jobs, err := job.Parse(job.Source{Name: "a.fio", Text: text}, job.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return jobs
}

func TestWavesFollowEachOtherAndClonesRunTogether(t *testing.T) {
	out, err := Run(context.Background(), parse(t, `[global]
ioengine=null
size=1g
runtime=100ms
time_based
thinktime=1ms
[a]
numjobs=2
[b]
new_group
[c]
stonewall
`), Config{})
	if err != nil || len(out.Done) != 4 {
		t.Fatalf("%v, %d jobs", err, len(out.Done))
	}
	var groups, waves []int
	for _, d := range out.Done {
		groups, waves = append(groups, d.Group), append(waves, d.Wave)
	}
	if groups[1] != 0 || groups[2] != 1 || groups[3] != 2 || waves[2] != 0 || waves[3] != 1 {
		t.Errorf("groups %v, waves %v", groups, waves)
	}
	a, b, c := out.Done[0], out.Done[2], out.Done[3]
	if b.Began.After(a.Began.Add(a.Took)) || c.Began.Before(b.Began.Add(b.Took)) {
		t.Errorf("a began %v, b %v, c %v", a.Began, b.Began, c.Began)
	}
}

func TestSharesOfTheTargetAndClonesLieWhereTheyShould(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := Run(context.Background(), parse(t, "[a]\nioengine=uring\nfilename="+name+
		"\nsize=25%\noffset=50%\noffset_increment=256k\nnumjobs=2\n"), Config{})
	if err != nil {
		t.Fatal(err)
	}
	if l := out.Done[1].Load; l.Offset < 786000 || l.Size > 262144 || l.Size < 260000 {
		t.Errorf("the second clone has %d bytes at %d", l.Size, l.Offset)
	}
	_, err = Run(context.Background(), parse(t, "[a]\nioengine=uring\nfilename="+name+
		"\nsize=75%\noffset=50%\n"), Config{})
	if !errors.Is(err, job.ErrInvalid) || !strings.Contains(err.Error(), "pass the end") {
		t.Errorf("beyond the end: %v", err)
	}
}

func TestFailureOfAJobEndsWhatComesAfterAndKeepsWhatWasDone(t *testing.T) {
	out, err := Run(context.Background(), parse(t, "[a]\nioengine=null\nsize=1m\n[b]\nstonewall\n"+
		"ioengine=uring\nfilename=/nonexistent/f\n[c]\nstonewall\nioengine=null\nsize=1m\n"),
		Config{})
	if err == nil || !strings.Contains(err.Error(), "job b") || len(out.Done) != 1 {
		t.Errorf("%v, %d jobs", err, len(out.Done))
	}
}

func TestTooManyJobsAreRefused(t *testing.T) {
	_, err := Run(context.Background(), parse(t, "[global]\nioengine=null\nsize=1m\nnumjobs=600\n"+
		"[a]\n[b]\n"), Config{})
	if !errors.Is(err, job.ErrInvalid) {
		t.Errorf("1200 jobs together: %v", err)
	}
}

func TestProgressIsTold(t *testing.T) {
	var seen []Status
	_, err := Run(context.Background(), parse(t, "[a]\nioengine=null\nsize=1m\ntime_based\n"+
		"runtime=1200ms\nthinktime=1ms\n"), Config{Live: func(s Status) { seen = append(seen, s) }})
	if err != nil || len(seen) == 0 {
		t.Fatalf("%v, told %d times", err, len(seen))
	}
	if s := seen[0]; s.Jobs != 1 || s.Ops[0] <= 0 || s.Share <= 0 || s.Share > 1 ||
		s.Left > 2*time.Second {
		t.Errorf("%+v", s)
	}
}
