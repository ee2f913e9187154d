package runbook

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// unit is what is read of a unit file.
type unit struct {
	name        string
	before      [][]string // ExecStartPre
	start       []string
	environment []string
	user, group string // that it runs as; empty: root
	notify      bool
	restart     string // no | on-failure | on-abnormal | always
	pause       time.Duration
	final       []int // RestartPreventExitStatus
}

var unitFolders = []string{"/etc/systemd/system", "/lib/systemd/system"}

// findUnit reads the first unit file of a name.
func findUnit(name string) (*unit, error) {
	name = strings.TrimSuffix(name, ".service")
	for _, folder := range unitFolders {
		text, err := os.ReadFile(filepath.Join(folder, name+".service"))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return parseUnit(name, string(text))
	}
	return nil, fmt.Errorf("unit %s.service not found", name)
}

func parseUnit(name, text string) (*unit, error) {
	u := &unit{name: name, restart: "no", pause: 100 * time.Millisecond}
	section := ""
	lines := bufio.NewScanner(strings.NewReader(strings.ReplaceAll(text, "\\\n", " ")))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(line, "[") {
			section = line
		}
		key, value, found := strings.Cut(line, "=")
		if !found || line[0] == '#' || section != "[Service]" {
			continue
		}
		if err := u.set(key, u.specified(value)); err != nil {
			return nil, fmt.Errorf("%s.service: %s: %w", name, line, err)
		}
	}
	if len(u.start) == 0 {
		return nil, fmt.Errorf("%s.service: no ExecStart", name)
	}
	return u, lines.Err()
}

// specified replaces the specifiers that units here use.
func (u *unit) specified(value string) string {
	host, _ := os.Hostname()
	return strings.NewReplacer("%p", u.name, "%n", u.name+".service", "%H", host).Replace(value)
}

func (u *unit) set(key, value string) (err error) {
	switch key {
	case "Type":
		u.notify = value == "notify"
	case "ExecStartPre":
		u.before = append(u.before, strings.Fields(value))
	case "ExecStart":
		u.start = strings.Fields(value)
	case "Environment":
		u.environment = append(u.environment, strings.Fields(value)...)
	case "EnvironmentFile":
		err = u.environmentFile(value)
	case "User":
		u.user = value
	case "Group":
		u.group = value
	case "Restart":
		u.restart = value
	case "RestartSec":
		u.pause, err = seconds(value)
	case "RestartPreventExitStatus":
		for field := range strings.FieldsSeq(value) {
			n, bad := strconv.Atoi(field)
			err = errors.Join(err, bad)
			u.final = append(u.final, n)
		}
	}
	return err
}

// environmentFile reads NAME=value lines; a leading dash lets the file be missing.
func (u *unit) environmentFile(value string) error {
	path, may := strings.CutPrefix(value, "-")
	text, err := os.ReadFile(path)
	if err != nil {
		if may && errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		line = strings.TrimSpace(line)
		if name, value, found := strings.Cut(line, "="); found && line[0] != '#' {
			u.environment = append(u.environment, name+"="+strings.Trim(value, `"'`))
		}
	}
	return nil
}

// seconds reads a time as systemd does: a bare number is seconds.
func seconds(value string) (time.Duration, error) {
	if n, err := strconv.ParseFloat(value, 64); err == nil {
		return time.Duration(n * float64(time.Second)), nil
	}
	return time.ParseDuration(value)
}

// expand replaces the variables of a command line; one that stands alone becomes its words.
func (u *unit) expand(argv []string) (out []string) {
	get := func(name string) string {
		for _, kv := range slices.Backward(u.environment) {
			if k, v, _ := strings.Cut(kv, "="); k == name {
				return v
			}
		}
		return ""
	}
	for _, arg := range argv {
		if name, alone := strings.CutPrefix(arg, "$"); alone && !strings.HasPrefix(name, "{") {
			out = append(out, strings.Fields(get(name))...)
			continue
		}
		out = append(out, os.Expand(arg, get))
	}
	return out
}

// credential is whom the unit runs as; nil: root.
func (u *unit) credential() (*syscall.Credential, error) {
	if u.user == "" {
		return nil, nil
	}
	owner, err := user.Lookup(u.user)
	if err != nil {
		return nil, err
	}
	gid := owner.Gid
	if u.group != "" {
		g, err := user.LookupGroup(u.group)
		if err != nil {
			return nil, err
		}
		gid = g.Gid
	}
	uid, err1 := strconv.ParseUint(owner.Uid, 10, 32)
	number, err2 := strconv.ParseUint(gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(number)}, errors.Join(err1, err2)
}

// again says whether a process that ended so is started again.
func (u *unit) again(state *os.ProcessState) bool {
	killed := state.ExitCode() < 0
	switch {
	case slices.Contains(u.final, state.ExitCode()):
		return false
	case u.restart == "always":
		return true
	case u.restart == "on-failure":
		return killed || !state.Success()
	}
	return u.restart == "on-abnormal" && killed
}
