package chunkfile

// halfView is what recovery knows of one half: valid says that verifyHalf accepted it.
type halfView struct {
	valid   bool
	version uint64
	sealed  bool
}

// facts are the named booleans the verdict on a slot depends on.
type facts struct {
	validA, validB bool
	equal          bool // both valid, with the same version
	adjacent       bool // both valid, versions differ by one
	newestSealed   bool // the newest valid half names a successor
	olderSealed    bool // both valid, the older names the newer
}

// verdict is what to do with a slot.
type verdict uint8

const (
	// verdictDamaged: no half may be used.
	verdictDamaged verdict = iota + 1
	// verdictUse: the newest half is the truth and the older one is sealed.
	verdictUse
	// verdictSeal: the newest half is the truth; the power went before the older was sealed.
	verdictSeal
	// verdictFallback: the only valid half is the truth as far as it can be known: the other
	// is torn by a power cut during its write, or was the older one.
	verdictFallback
)

// rule is one row of the decision table. For any facts exactly one rule matches.
type rule struct {
	name    string
	match   func(f facts) bool
	verdict verdict
}

var rules = []rule{
	{"both halves invalid",
		func(f facts) bool { return !f.validA && !f.validB }, verdictDamaged},
	{"the half after a sealed one is lost",
		func(f facts) bool { return f.validA != f.validB && f.newestSealed }, verdictDamaged},
	{"one half torn or lost, the other not superseded",
		func(f facts) bool { return f.validA != f.validB && !f.newestSealed }, verdictFallback},
	{"both halves claim one version",
		func(f facts) bool { return f.validA && f.validB && f.equal }, verdictDamaged},
	{"the device lost the write of the version after the newest",
		func(f facts) bool {
			return f.validA && f.validB && !f.equal && f.newestSealed
		}, verdictDamaged},
	{"the device lost a version between the halves",
		func(f facts) bool {
			return f.validA && f.validB && !f.equal && !f.newestSealed && !f.adjacent
		}, verdictDamaged},
	{"two versions in order",
		func(f facts) bool {
			return f.validA && f.validB && !f.equal && !f.newestSealed && f.adjacent &&
				f.olderSealed
		}, verdictUse},
	{"two versions in order, the older not sealed yet",
		func(f facts) bool {
			return f.validA && f.validB && !f.equal && !f.newestSealed && f.adjacent &&
				!f.olderSealed
		}, verdictSeal},
}

// establish derives the facts and which half is the newest valid one.
func establish(a, b halfView) (f facts, newest uint8) {
	f.validA, f.validB = a.valid, b.valid
	older := a
	if b.valid && (!a.valid || b.version > a.version) {
		newest = 1
	}
	top := a
	if newest == 1 {
		top = b
	} else {
		older = b
	}
	f.newestSealed = top.valid && top.sealed
	if a.valid && b.valid {
		f.equal = a.version == b.version
		f.adjacent = top.version-older.version == 1
		f.olderSealed = older.sealed
	}
	return f, newest
}

// judge decides on a slot. newest is the half to use unless the verdict is damaged.
func judge(a, b halfView) (v verdict, newest uint8, reason string) {
	f, newest := establish(a, b)
	for _, r := range rules {
		if r.match(f) {
			return r.verdict, newest, r.name
		}
	}
	panic("chunkfile: no rule for the state of a slot")
}
