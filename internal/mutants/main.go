package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/ashlar-storage/ashlar/internal/evidence"
)

var (
	only     = flag.String("only", "", "run the mutants whose name contains this")
	parallel = flag.Int("parallel", 2, "mutants at a time")
	times    = flag.Int("times", 1, "runs of each test, every one of which must notice its mutant")
	limit    = flag.Duration("limit", 3*time.Minute, "time for one mutant, building included")
)

func main() {
	flag.Parse()
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

// outcome is what became of a mutant.
type outcome string

const (
	caught   outcome = "caught"
	survived outcome = "SURVIVED"
	broken   outcome = "DOES NOT COMPILE"
	slow     outcome = "OUT OF TIME"
)

type result struct {
	mutant
	outcome outcome
	took    time.Duration
	output  string
}

func run(out io.Writer) error {
	scratch, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	todo := []mutant{canary}
	for _, m := range mutants {
		if strings.Contains(m.name, *only) {
			todo = append(todo, m)
		}
	}
	for _, m := range todo {
		if _, err := m.apply(); err != nil {
			return err
		}
	}
	began := time.Now()
	results := tryAll(out, scratch, todo)
	wrong := report(out, results)
	if err := leaveEvidence(results); err != nil {
		return err
	}
	fmt.Fprintf(out, "mutants: %d of %d caught, the canary lives: %v, in %v\n",
		countCaught(results), len(results)-1, results[0].outcome == survived,
		time.Since(began).Round(time.Second))
	if wrong > 0 {
		return fmt.Errorf("%d rows are not as they must be", wrong)
	}
	return nil
}

// tryAll runs the mutants, a few at a time, and prints each as it ends.
func tryAll(out io.Writer, scratch string, todo []mutant) []result {
	results := make([]result, len(todo))
	slots := make(chan struct{}, max(1, *parallel))
	var wait sync.WaitGroup
	var mu sync.Mutex
	for i, m := range todo {
		slots <- struct{}{}
		wait.Add(1)
		go func() {
			defer wait.Done()
			results[i] = try(m, filepath.Join(scratch, fmt.Sprint(i)))
			r := &results[i]
			mu.Lock()
			fmt.Fprintf(out, "%-10s %-62s %5.1f s  %s\n", r.outcome, r.name,
				r.took.Seconds(), r.test)
			mu.Unlock()
			<-slots
		}()
	}
	wait.Wait()
	return results
}

// apply returns the file with the bug in it.
func (m *mutant) apply() ([]byte, error) {
	text, err := os.ReadFile(m.file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: run it from the root of the tree", m.name, err)
	}
	if n := bytes.Count(text, []byte(m.old)); n != 1 {
		return nil, fmt.Errorf("%s: its text stands %d times in %s, want once: the table is out "+
			"of date", m.name, n, m.file)
	}
	return bytes.Replace(text, []byte(m.old), []byte(m.new), 1), nil
}

// try compiles a mutant from an overlay and runs its test, until a run does not notice it.
func try(m mutant, dir string) result {
	began := time.Now()
	r := result{mutant: m, outcome: broken}
	overlay, err := m.overlay(dir)
	if err != nil {
		r.output = err.Error()
		return r
	}
	for range max(1, *times) {
		if r.output, r.outcome = m.runTest(overlay); r.outcome != caught {
			break
		}
	}
	r.took = time.Since(began)
	return r
}

func (m *mutant) runTest(overlay string) (string, outcome) {
	ctx, cancel := context.WithTimeout(context.Background(), *limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-overlay", overlay, "-count=1", "-vet=off",
		"-run", "^"+m.test+"$", m.pkg)
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = append(os.Environ(), evidence.Environment+"=") // what a broken program counts is none
	text, err := cmd.CombinedOutput()
	return string(text), judge(string(text), err, ctx.Err())
}

// judge tells what the output of `go test` says of a mutant. A test that fails or panics has
// caught it.
func judge(output string, err, late error) outcome {
	var exit *exec.ExitError
	switch {
	case late != nil || strings.Contains(output, "panic: test timed out"):
		return slow
	case err == nil && strings.Contains(output, "no tests to run"):
		return broken
	case err == nil:
		return survived
	case errors.As(err, &exit) && !strings.Contains(output, "[build failed]") &&
		(strings.Contains(output, "--- FAIL: ") || strings.Contains(output, "panic: ")):
		return caught
	}
	return broken
}

func (m *mutant) overlay(dir string) (string, error) {
	text, err := m.apply()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	root, err := os.Getwd()
	if err != nil {
		return "", err
	}
	mutated := filepath.Join(dir, filepath.Base(m.file))
	if err := os.WriteFile(mutated, text, 0o644); err != nil {
		return "", err
	}
	data, err := json.Marshal(map[string]any{
		"Replace": map[string]string{filepath.Join(root, m.file): mutated}})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, data, 0o644)
}

// report prints what went wrong and counts it.
func report(out io.Writer, results []result) (wrong int) {
	for i, r := range results {
		want := caught
		if i == 0 {
			want = survived
		}
		if r.outcome == want {
			continue
		}
		wrong++
		fmt.Fprintf(out, "--- %s: %s, must be %s: %s in %s\n%s\n", r.name, r.outcome, want, r.test,
			r.pkg, tail(r.output))
	}
	return wrong
}

// tail keeps the end of a long output.
func tail(s string) string { return s[max(0, len(s)-2000):] }

func countCaught(results []result) (n int) {
	for _, r := range results[1:] {
		if r.outcome == caught {
			n++
		}
	}
	return n
}
