package job

import (
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// bytesOf reads a size as fio writes it.
func bytesOf(text string) (int64, error) {
	const fix = "write bytes, or a number with k, m, g or t (powers of 1024)"
	t := strings.ToLower(strings.TrimSpace(text))
	i := strings.IndexFunc(t, func(r rune) bool { return r < '0' || r > '9' })
	unit := ""
	if i >= 0 {
		t, unit = t[:i], t[i:]
	}
	n, err := strconv.ParseInt(t, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("not a size: %s", fix)
	}
	if len(unit) > 1 && strings.Contains(unit, "i") {
		return 0, fmt.Errorf("the unit %q is 1000 for fio and 1024 for everybody else: %s",
			text[len(t):], fix)
	}
	shift := strings.Index("bkmgt", strings.TrimSuffix(unit, "b"))
	if unit == "" || unit == "b" {
		shift = 0
	}
	if shift < 0 || len(unit) > 2 {
		return 0, fmt.Errorf("no unit is called %q: %s", unit, fix)
	}
	if n > math.MaxInt64>>(10*shift) {
		return 0, fmt.Errorf("too large: %s", fix)
	}
	return n << (10 * shift), nil
}

func amountOf(text string) (Amount, error) {
	if p, ok := strings.CutSuffix(text, "%"); ok {
		n, err := strconv.Atoi(p)
		if err != nil || n < 1 || n > 100 {
			return Amount{}, fmt.Errorf("write a share of the target as 1%% to 100%%")
		}
		return Amount{Percent: n}, nil
	}
	n, err := bytesOf(text)
	return Amount{Bytes: n}, err
}

// durationOf reads a time; a bare number is in unit.
func durationOf(text string, unit time.Duration) (time.Duration, error) {
	const fix = "write it as 30s, 500ms or 2m"
	t := strings.ToLower(strings.TrimSpace(text))
	i := strings.IndexFunc(t, func(r rune) bool { return r < '0' || r > '9' })
	if i >= 0 {
		units := map[string]time.Duration{"us": time.Microsecond, "usec": time.Microsecond,
			"ms": time.Millisecond, "msec": time.Millisecond, "s": time.Second,
			"sec": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}
		var ok bool
		if unit, ok = units[t[i:]]; !ok {
			return 0, fmt.Errorf("no unit of time is called %q: %s", t[i:], fix)
		}
		t = t[:i]
	}
	n, err := strconv.ParseInt(t, 10, 64)
	if err != nil || n > int64(math.MaxInt64/unit) {
		return 0, fmt.Errorf("not a time: %s", fix)
	}
	return time.Duration(n) * unit, nil
}

func boolOf(text string) (bool, error) {
	switch text {
	case "", "1":
		return true, nil
	case "0":
		return false, nil
	}
	return false, fmt.Errorf("write 1 or 0")
}

func intOf(text string, low, high int64) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("write a whole number from %d to %d", low, high)
	}
	return n, nil
}

// pair splits "a,b" into the value of either direction; "a" is that of both.
func pair(text string) (string, string, error) {
	parts := strings.Split(text, ",")
	switch {
	case len(parts) == 1:
		return text, text, nil
	case len(parts) == 2 && parts[0] != "" && parts[1] != "":
		return parts[0], parts[1], nil
	}
	return "", "", fmt.Errorf("write one value, or READS,WRITES")
}

func blockOf(text string) (int, error) {
	n, err := bytesOf(text)
	if err == nil && (n < 1 || n > blockMax) {
		err = fmt.Errorf("write a block size from 1 to %dm", blockMax>>20)
	}
	return int(n), err
}

// splitOf reads "4k/70:64k/30"; sizes without a share get what is left, in equal parts.
func splitOf(text string) (out []Share, err error) {
	left, open := 100, 0
	for part := range strings.SplitSeq(text, ":") {
		size, weight, given := strings.Cut(part, "/")
		n, err := blockOf(size)
		if err != nil {
			return nil, err
		}
		share := Share{Bytes: n}
		if given && weight != "" {
			w, err := intOf(weight, 1, 100)
			if err != nil {
				return nil, fmt.Errorf("share of %s: %w", size, err)
			}
			share.Weight = int(w)
			left -= int(w)
		} else {
			open++
		}
		out = append(out, share)
	}
	if left < 0 || left == 0 && open > 0 || left > 0 && open == 0 {
		return nil, fmt.Errorf("the shares make %d%%, not 100%%: write them as 4k/70:64k/30",
			100-left)
	}
	for i := range out {
		if out[i].Weight == 0 {
			out[i].Weight = max(left/open, 1)
		}
	}
	return out, nil
}

// rangeOf reads "4k-64k": every multiple of the lower size, all alike.
func rangeOf(text string) (out []Share, err error) {
	low, high, ok := strings.Cut(text, "-")
	if !ok {
		return nil, fmt.Errorf("write it as 4k-64k")
	}
	a, err := blockOf(low)
	if err != nil {
		return nil, err
	}
	z, err := blockOf(high)
	if err != nil {
		return nil, err
	}
	if z < a || z/a > sharesMax {
		return nil, fmt.Errorf("write a range of at most %d sizes, the smaller first", sharesMax)
	}
	for n := a; n <= z; n += a {
		out = append(out, Share{Bytes: n, Weight: 1})
	}
	return out, nil
}

// patternOf reads "text", 0xhex or a decimal number below 256; %o in a text is the block's offset,
// as 8 bytes, the lowest first. It returns where that goes, or -1.
func patternOf(text string) (p []byte, at int, err error) {
	const fix = `write it as 0xdeadbeef, as a number below 256, or as "text" with quotes`
	if q, ok := strings.CutPrefix(text, `"`); ok {
		q, ok = strings.CutSuffix(q, `"`)
		if !ok || q == "" {
			return nil, 0, fmt.Errorf("no pattern: %s", fix)
		}
		at = strings.Index(q, "%o")
		if at >= 0 {
			q = q[:at] + "\x00\x00\x00\x00\x00\x00\x00\x00" + q[at+2:]
		}
		return []byte(q), at, nil
	}
	if text == "%o" {
		return make([]byte, 8), 0, nil
	}
	if h, ok := strings.CutPrefix(text, "0x"); ok {
		p, err = hex.DecodeString(h)
		if err != nil || len(p) == 0 {
			return nil, 0, fmt.Errorf("not an even number of hex digits: %s", fix)
		}
		return p, -1, nil
	}
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil {
		return nil, 0, fmt.Errorf("no pattern: %s", fix)
	}
	return []byte{byte(n)}, -1, nil
}

// spreadOf reads random, zipf:1.2 or pareto:0.9.
func spreadOf(text string) (Spread, error) {
	const fix = "write random, zipf:THETA (above 0, not 1) or pareto:H (above 0, below 1)"
	kind, arg, given := strings.Cut(text, ":")
	s := Spread{Kind: kind, Theta: 1.1}
	if kind == "pareto" {
		s.Theta = 0.2
	}
	if given {
		v, err := strconv.ParseFloat(arg, 64)
		if err != nil {
			return s, fmt.Errorf("%q is no number: %s", arg, fix)
		}
		s.Theta = v
	}
	switch {
	case kind == "random" && !given:
		return Spread{Kind: kind}, nil
	case kind == "zipf" && s.Theta > 0 && s.Theta < 100 && s.Theta != 1:
		return s, nil
	case kind == "pareto" && s.Theta > 0 && s.Theta < 1:
		return s, nil
	}
	return s, fmt.Errorf("%s", fix)
}

func percentilesOf(text string) (out []float64, err error) {
	for part := range strings.SplitSeq(text, ":") {
		v, err := strconv.ParseFloat(part, 64)
		if err != nil || !(v > 0 && v <= 100) {
			return nil, fmt.Errorf("write percentiles as 50:99:99.9, each above 0 and at most 100")
		}
		out = append(out, v)
	}
	if len(out) > percentsMax {
		return nil, fmt.Errorf("write at most %d percentiles", percentsMax)
	}
	return out, nil
}
