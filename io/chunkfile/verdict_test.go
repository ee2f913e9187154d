package chunkfile

import "testing"

func TestExactlyOneRuleMatchesAnyFacts(t *testing.T) {
	matched := make([]int, len(rules))
	for n := range 64 {
		bit := func(i int) bool { return n>>i&1 == 1 }
		f := facts{validA: bit(0), validB: bit(1), equal: bit(2), adjacent: bit(3),
			newestSealed: bit(4), olderSealed: bit(5)}
		var names []string
		for i, r := range rules {
			if r.match(f) {
				names = append(names, r.name)
				matched[i]++
			}
		}
		if len(names) != 1 {
			t.Errorf("%+v: rules %q", f, names)
		}
	}
	for i, r := range rules {
		if matched[i] == 0 {
			t.Errorf("rule %q never matches", r.name)
		}
	}
}

func TestVerdictOnEveryPairOfHalves(t *testing.T) {
	var halves []halfView
	halves = append(halves, halfView{})
	for v := uint64(1); v <= 4; v++ {
		halves = append(halves, halfView{true, v, false}, halfView{true, v, true})
	}
	for _, a := range halves {
		for _, b := range halves {
			v, newest, _ := judge(a, b)
			mirrored, other, _ := judge(b, a)
			if v != mirrored {
				t.Fatalf("%+v %+v: verdict %d, mirrored %d", a, b, v, mirrored)
			}
			if v == verdictDamaged {
				continue
			}
			if newest == other {
				t.Fatalf("%+v %+v: the same half is used when they are swapped", a, b)
			}
			used, left := a, b
			if newest == 1 {
				used, left = b, a
			}
			switch {
			case !used.valid || used.sealed:
				t.Fatalf("%+v %+v: an invalid or superseded half is used", a, b)
			case left.valid && left.version+1 != used.version:
				t.Fatalf("%+v %+v: used although a version is missing", a, b)
			case left.valid != (v == verdictUse || v == verdictSeal):
				t.Fatalf("%+v %+v: verdict %d", a, b, v)
			case left.valid && left.sealed != (v == verdictUse):
				t.Fatalf("%+v %+v: verdict %d", a, b, v)
			}
		}
	}
}
