package monitoring

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// selector is a metric in an expression, with what must be so of its labels.
type selector struct {
	metric   string
	matchers []matcher
}

type matcher struct{ label, op, value string }

// expression is what the scanner finds in PromQL.
type expression struct {
	selectors []selector
	grouped   []string // labels of by, without, on, ignoring, group_left and group_right
}

// token is a name, a string, a number or duration, or one or two signs.
var token = regexp.MustCompile(`^(?:[a-zA-Z_:][a-zA-Z0-9_:]*|"(?:[^"\\]|\\.)*"|` +
	`[0-9]+(?:\.[0-9]+)?(?:ms|[smhdwy])?|\$__[a-z_]+|=~|!~|!=|==|>=|<=|[-+*/%^(){}\[\],=<>:])`)

var (
	grouping = []string{"by", "without", "on", "ignoring", "group_left", "group_right"}
	joining  = []string{"and", "or", "unless", "bool", "offset"}
	// functions are those that are used; one more is one more line here.
	functions = []string{"absent", "count", "deriv", "histogram_quantile", "increase", "max",
		"min", "predict_linear", "rate", "sum", "time"}
)

// tokens cuts an expression into pieces.
func tokens(expr string) (list []string, err error) {
	rest := strings.TrimSpace(expr)
	for rest != "" {
		t := token.FindString(rest)
		if t == "" {
			return nil, fmt.Errorf("cannot be read from %q on", rest)
		}
		list = append(list, t)
		rest = strings.TrimSpace(rest[len(t):])
	}
	return list, nil
}

// scan reads an expression.
func scan(expr string) (e expression, err error) {
	list, err := tokens(expr)
	if err != nil {
		return e, err
	}
	if err := balanced(list); err != nil {
		return e, err
	}
	for i := 0; i < len(list); {
		t, next := list[i], ""
		if i+1 < len(list) {
			next = list[i+1]
		}
		switch {
		case slices.Contains(grouping, t):
			var labels []string
			if labels, i, err = e.labels(list, i+1); err != nil {
				return e, fmt.Errorf("after %s: %w", t, err)
			}
			e.grouped = append(e.grouped, labels...)
			continue
		case slices.Contains(joining, t):
		case slices.Contains(functions, t) && (next == "(" || slices.Contains(grouping, next)):
		case named(t) && next == "(":
			return e, fmt.Errorf("function %s is not known here", t)
		case named(t):
			s := selector{metric: t}
			if i++; next == "{" {
				if s.matchers, i, err = matchers(list, i+1); err != nil {
					return e, fmt.Errorf("%s: %w", t, err)
				}
			}
			e.selectors = append(e.selectors, s)
			continue
		case t == "{":
			return e, fmt.Errorf("a selector without a metric")
		}
		i++
	}
	return e, nil
}

func named(t string) bool { return t[0] >= 'a' && t[0] <= 'z' || t[0] >= 'A' && t[0] <= 'Z' }

// labels reads a list in parentheses and gives the place behind it.
func (e *expression) labels(list []string, at int) (labels []string, next int, err error) {
	if at >= len(list) || list[at] != "(" {
		return nil, at, fmt.Errorf("no list of labels")
	}
	for i := at + 1; i < len(list); i++ {
		switch t := list[i]; {
		case t == ")":
			return labels, i + 1, nil
		case t == ",":
		case named(t):
			labels = append(labels, t)
		default:
			return nil, i, fmt.Errorf("%q is no label", t)
		}
	}
	return nil, len(list), fmt.Errorf("the list of labels does not end")
}

// matchers reads what is between braces and gives the place behind it.
func matchers(list []string, at int) (out []matcher, next int, err error) {
	for i := at; i < len(list); {
		switch {
		case list[i] == "}":
			return out, i + 1, nil
		case list[i] == ",":
			i++
		case i+2 < len(list) && named(list[i]) && strings.HasPrefix(list[i+2], `"`) &&
			slices.Contains([]string{"=", "!=", "=~", "!~"}, list[i+1]):
			out = append(out, matcher{list[i], list[i+1], strings.Trim(list[i+2], `"`)})
			i += 3
		default:
			return nil, i, fmt.Errorf("%q is no matcher", list[i])
		}
	}
	return nil, len(list), fmt.Errorf("its matchers do not end")
}

// balanced refuses brackets that do not close in their order.
func balanced(list []string) error {
	var open []string
	closes := map[string]string{")": "(", "]": "[", "}": "{"}
	for _, t := range list {
		switch {
		case t == "(" || t == "[" || t == "{":
			open = append(open, t)
		case closes[t] != "":
			if len(open) == 0 || open[len(open)-1] != closes[t] {
				return fmt.Errorf("%q closes nothing", t)
			}
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		return fmt.Errorf("%q is not closed", open[len(open)-1])
	}
	return nil
}
