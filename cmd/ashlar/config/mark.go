package config

import (
	"fmt"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Mark is how full something may be: a share that is used, as 85%, or a size that is left, as
// 20GiB. The zero value is no mark, written as 0.
type Mark struct {
	Percent float64
	Left    Size
}

// ParseMark reads a mark. The error wraps ErrInvalid.
func ParseMark(text string) (Mark, error) {
	share, found := strings.CutSuffix(strings.TrimSpace(text), "%")
	if !found {
		left, err := ParseSize(text)
		if err != nil {
			return Mark{}, fmt.Errorf("%w; or as a share that is used, as 85%%", err)
		}
		return Mark{Left: left}, nil
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(share), 64)
	if err != nil || !(n > 0 && n <= 100) || len(share) > sizeTextMax {
		return Mark{}, fmt.Errorf("%w: mark %.40q: write a share above 0%% and up to 100%%, or "+
			"what is to be left, as 20GiB", ErrInvalid, text)
	}
	return Mark{Percent: n}, nil
}

// String writes the mark as ParseMark reads it.
func (m Mark) String() string {
	if m.Percent > 0 {
		return strconv.FormatFloat(m.Percent, 'f', -1, 64) + "%"
	}
	return m.Left.String()
}

// MarshalYAML writes the mark as people write it.
func (m Mark) MarshalYAML() (any, error) { return m.String(), nil }

// UnmarshalYAML reads a scalar; the error names the line.
func (m *Mark) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.ScalarNode {
		return fmt.Errorf("line %d: a mark is one value, such as 85%% or 20GiB", n.Line)
	}
	mark, err := ParseMark(n.Value)
	if err != nil {
		return fmt.Errorf("line %d: %w", n.Line, err)
	}
	*m = mark
	return nil
}
