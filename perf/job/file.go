package job

import (
	"fmt"
	"strings"
)

// Source is the text of a job file.
type Source struct{ Name, Text string }

// Env is what a file may refer to.
type Env struct {
	// Lookup finds a variable, as os.LookupEnv does; nil: there are none.
	Lookup func(string) (string, bool)
}

// section is a name in brackets and what follows.
type section struct {
	name, where string
	settings    []Setting
}

// Parse reads a job file. over is set in every job, after what the file says.
func Parse(src Source, env Env, over ...Setting) ([]*Job, error) {
	sections, err := split(src, env)
	if err != nil {
		return nil, err
	}
	if len(sections) == 0 {
		return nil, fmt.Errorf("%w: %s: no section: begin a job with [name]", ErrInvalid, src.Name)
	}
	return build(sections, over)
}

// FromOptions makes jobs of options in the order of a command line: those before the first name
// go for all jobs, each name begins one.
func FromOptions(settings []Setting) ([]*Job, error) {
	sections := []section{{name: "global"}}
	for _, s := range settings {
		if s.Name == "name" {
			sections = append(sections, section{name: s.Value, where: s.Where})
			continue
		}
		last := &sections[len(sections)-1]
		last.settings = append(last.settings, s)
	}
	if len(sections) == 1 {
		sections[0].name = "job"
	}
	return build(sections, nil)
}

func split(src Source, env Env) (out []section, err error) {
	if len(src.Text) > textMax {
		return nil, fmt.Errorf("%w: %s: %d bytes, at most %d", ErrInvalid, src.Name,
			len(src.Text), textMax)
	}
	n := 0
	for line := range strings.Lines(src.Text) {
		n++
		where := fmt.Sprintf("%s:%d", src.Name, n)
		line = strings.TrimSpace(line)
		if line == "" || line[0] == ';' || line[0] == '#' {
			continue
		}
		if name, ok := strings.CutPrefix(line, "["); ok {
			if name, ok = strings.CutSuffix(name, "]"); !ok || name == "" {
				return nil, fmt.Errorf("%w: %s: %q: write a section as [name]", ErrInvalid, where,
					line)
			}
			if out = append(out, section{name: name, where: where}); len(out) > sectionsMax {
				return nil, fmt.Errorf("%w: %s: more than %d sections", ErrInvalid, where,
					sectionsMax)
			}
			continue
		}
		if len(out) == 0 {
			return nil, fmt.Errorf("%w: %s: an option before the first section: begin with "+
				"[global] or [name]", ErrInvalid, where)
		}
		s, err := settingOf(line, where, env)
		if err != nil {
			return nil, err
		}
		last := &out[len(out)-1]
		last.settings = append(last.settings, s)
	}
	return out, nil
}

func settingOf(line, where string, env Env) (Setting, error) {
	name, value, _ := strings.Cut(line, "=")
	s := Setting{Name: strings.TrimSpace(name), Value: strings.TrimSpace(value), Where: where}
	for {
		head, rest, ok := strings.Cut(s.Value, "${")
		if !ok {
			return s, nil
		}
		variable, tail, ok := strings.Cut(rest, "}")
		if !ok {
			return s, fmt.Errorf("%w: %s: %s: ${ without }", ErrInvalid, where, s.Name)
		}
		var text string
		found := false
		if env.Lookup != nil {
			text, found = env.Lookup(variable)
		}
		if !found {
			return s, fmt.Errorf("%w: %s: %s: the environment has no %s: set it", ErrInvalid,
				where, s.Name, variable)
		}
		s.Value = head + strings.ReplaceAll(text, "${", "") + tail
	}
}

// build makes the jobs of the sections.
func build(sections []section, over []Setting) (out []*Job, err error) {
	var global []Setting
	for _, s := range sections {
		if s.name == "global" {
			global = append(global, s.settings...)
			continue
		}
		j := defaults()
		j.Name, j.Where = s.name, s.where
		j.Global = append([]Setting{}, global...)
		j.Own = append(append([]Setting{}, s.settings...), over...)
		for _, list := range [][]Setting{j.Global, j.Own} {
			for _, set := range list {
				if err := j.apply(set); err != nil {
					return nil, err
				}
			}
		}
		if err := j.settle(); err != nil {
			return nil, err
		}
		out = append(out, &j)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: only [global]: add a section [name] for each job", ErrInvalid)
	}
	return out, nil
}

func (j *Job) apply(s Setting) error {
	o := find(s.Name)
	if o == nil {
		return unknown(s)
	}
	if s.Value == "" && !o.Flag {
		return fmt.Errorf("%w: %s: %s has no value: write %s=VALUE (%s)", ErrInvalid, s.Where,
			s.Name, s.Name, o.Help)
	}
	if err := o.set(j, s.Value); err != nil {
		return fmt.Errorf("%w: %s: %s=%.60s: %w", ErrInvalid, s.Where, s.Name, s.Value, err)
	}
	return nil
}
