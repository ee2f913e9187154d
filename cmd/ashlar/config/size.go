package config

import (
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"gopkg.in/yaml.v3"
)

// Size is a number of bytes, written as people write it: 4GiB, 512MiB, 4096.
type Size int64

// ParseSize reads a size. Binary units (KiB, MiB, GiB, TiB) are powers of 1024, decimal ones (kB,
// MB, GB, TB) powers of 1000; a bare number is bytes. The error wraps ErrInvalid.
func ParseSize(text string) (Size, error) {
	bad := func(why string) (Size, error) {
		return 0, fmt.Errorf("%w: size %.40q: %s; write it as 512MiB, 4GiB or a number of bytes",
			ErrInvalid, text, why)
	}
	trimmed := strings.TrimSpace(text)
	switch {
	case trimmed == "":
		return bad("empty")
	case len(trimmed) > sizeTextMax:
		return bad("too long")
	case trimmed[0] < '0' || trimmed[0] > '9':
		return bad("does not begin with a digit")
	}
	n, err := humanize.ParseBytes(trimmed)
	if err != nil {
		return bad("not a number with a unit")
	}
	if n > SizeMax {
		return bad("larger than " + humanize.IBytes(SizeMax))
	}
	return Size(n), nil
}

// String writes the size exactly: in the largest binary unit that divides it.
func (s Size) String() string {
	units := []string{"", "KiB", "MiB", "GiB", "TiB", "PiB"}
	n, u := int64(s), 0
	for n != 0 && n%1024 == 0 && u < len(units)-1 {
		n, u = n/1024, u+1
	}
	return fmt.Sprintf("%d%s", n, units[u])
}

// Set makes Size a command-line flag value.
func (s *Size) Set(text string) error {
	n, err := ParseSize(text)
	if err == nil {
		*s = n
	}
	return err
}

// Type names the value in the help of a flag.
func (s *Size) Type() string { return "size" }

// MarshalYAML writes the size as people write it.
func (s Size) MarshalYAML() (any, error) { return s.String(), nil }

// UnmarshalYAML reads a scalar; the error names the line.
func (s *Size) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.ScalarNode {
		return fmt.Errorf("line %d: a size is one value, such as 4GiB", n.Line)
	}
	size, err := ParseSize(n.Value)
	if err != nil {
		return fmt.Errorf("line %d: %w", n.Line, err)
	}
	*s = size
	return nil
}

// Duration is a time.Duration that YAML writes as 10ms, 5s, 1m30s.
type Duration time.Duration

// MarshalYAML writes the duration as time.Duration does.
func (d Duration) MarshalYAML() (any, error) { return time.Duration(d).String(), nil }

// UnmarshalYAML reads a scalar with a unit; the error names the line.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	v, err := time.ParseDuration(n.Value)
	if err != nil || v < 0 {
		return fmt.Errorf("line %d: %w: duration %.40q: write it with its unit, as 500ms or 5s",
			n.Line, ErrInvalid, n.Value)
	}
	*d = Duration(v)
	return nil
}
