package disk

import (
	"errors"
	"strings"
	"testing"
)

// everyCacheFacts calls f with all combinations of the facts.
func everyCacheFacts(f func(cacheFacts)) {
	for n := range 1 << 7 {
		bit := func(i int) bool { return n>>i&1 == 1 }
		f(cacheFacts{memory: bit(0), hidden: bit(1), mute: bit(2), writeBack: bit(3),
			barriersOff: bit(4), swallowed: bit(5), fua: bit(6)})
	}
}

func TestExactlyOneCacheRuleMatchesAnyFacts(t *testing.T) {
	matched := make([]int, len(cacheRules))
	everyCacheFacts(func(f cacheFacts) {
		var reasons []string
		for i, r := range cacheRules {
			if r.match(f) {
				reasons = append(reasons, r.reason)
				matched[i]++
			}
		}
		if len(reasons) != 1 {
			t.Errorf("%+v: rules %q", f, reasons)
		}
	})
	for i, r := range cacheRules {
		if matched[i] == 0 {
			t.Errorf("rule %q never matches", r.reason)
		}
		good := r.verdict == CacheNone || r.verdict == CacheFlushed
		if r.reason == "" || (r.fix == "") != good {
			t.Errorf("rule %q, verdict %v, has the fix %q", r.reason, r.verdict, r.fix)
		}
	}
}

func TestACacheIsTrustedOnlyWhenAFlushReachesIt(t *testing.T) {
	verdicts := map[CacheVerdict]int{}
	everyCacheFacts(func(f cacheFacts) {
		c := judgeCache(f, "/mnt", "dm-0")
		verdicts[c.Verdict]++
		lossy := f.memory || !f.hidden && f.writeBack && (f.barriersOff || f.swallowed)
		known := !f.hidden && !f.mute
		switch {
		case lossy != (c.Verdict == CacheVolatile):
			t.Errorf("%+v: %v", f, c.Verdict)
		case !lossy && known == (c.Verdict == CacheUnknown):
			t.Errorf("%+v: %v", f, c.Verdict)
		case !lossy && known && f.writeBack != (c.Verdict == CacheFlushed):
			t.Errorf("%+v: %v", f, c.Verdict)
		}
		if err := c.Err(); errors.Is(err, ErrVolatile) != lossy {
			t.Errorf("%+v: error %v", f, err)
		}
	})
	if len(verdicts) != 4 {
		t.Errorf("only these verdicts: %v", verdicts)
	}
}

func TestTheFixNamesTheMountAndTheLayer(t *testing.T) {
	off := judgeCache(cacheFacts{writeBack: true, barriersOff: true}, "/mnt", "dm-0")
	lost := judgeCache(cacheFacts{writeBack: true, swallowed: true}, "/mnt", "dm-0")
	if !strings.Contains(off.Fix, "remount,barrier /mnt") ||
		!strings.Contains(lost.Fix, "/sys/block/dm-0/queue") {
		t.Errorf("%q, %q", off.Fix, lost.Fix)
	}
}
