package runbook

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

const samplePage = `# A page

## Begin

Read this first:

~~~
not run
~~~

### With two

<!-- on ash1, ash2 -->
~~~sh
echo one
echo two
~~~

It says:

<!-- shows -->
~~~
one
~~~

## End

<!-- on me, within 1m30s -->
~~~
true
~~~
`

func page(text string) string { return strings.ReplaceAll(text, "~~~", fence) }

func TestBlocksAreReadWithWhereTheyAreRun(t *testing.T) {
	got, err := Parse(page(samplePage))
	want := []Step{
		{Section: "Begin / With two", Line: 15, On: []string{"ash1", "ash2"},
			Script: "echo one\necho two\n", Shows: "one\n"},
		{Section: "End", Line: 30, On: []string{"me"}, Within: 90 * time.Second, Script: "true\n"},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n%+v\nwant\n%+v", err, got, want)
	}
}

func TestPagesThatCannotBeRunAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"\n<!-- on -->\n":                          "line 2: <!-- on -->: write",
		"\n<!-- on a, within soon -->\n~~~\n~~~\n": "line 2: time: invalid duration",
		"\n<!-- on a -->\nwords\n":                 "a block in",
		"\n<!-- on a -->\n~~~\nwords\n":            "no end",
		"\n<!-- shows -->\n~~~\nwords\n~~~\n":      "nothing was run",
	} {
		if _, err := Parse(page(text)); !errors.Is(err, ErrPage) ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestShownLinesAreFoundInTheirOrder(t *testing.T) {
	const output = "NAME   STATE\nash1   up      1.2 GiB\nash2   offline\n"
	for want, missing := range map[string]string{
		"ash1 up ...\n":              "",
		"NAME STATE\nash2 offline\n": "",
		"... 1.2 GiB":                "",
		"ash2 offline\nash1 up ...":  "ash1 up ...",
		"ash2 up":                    "ash2 up",
		"ash1 up":                    "ash1 up",
		"a.h1 up ...":                "a.h1 up ...",
	} {
		if got := Missing(want, output); got != missing {
			t.Errorf("%q: missing %q, want %q", want, got, missing)
		}
	}
}
