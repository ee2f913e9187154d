package disk

import (
	"math/rand/v2"
	"testing"
)

// subsetsOf collects the plans as words of 0 and 1, one letter for each sector.
func subsetsOf(b Subsets, list []Sector) map[string]int {
	got := map[string]int{}
	for _, p := range b.Plans(list, rand.New(rand.NewPCG(1, 1))) {
		word := ""
		for i, s := range list {
			if p.Keep(i, s) {
				word += "1"
			} else {
				word += "0"
			}
		}
		if p.Keep(len(list), Sector{}) {
			word += " and a later one"
		}
		got[word]++
	}
	return got
}

func TestEverySubsetOfFewSectorsIsTriedOnce(t *testing.T) {
	got := subsetsOf(Subsets{All: 3, Each: 1, Random: 1}, []Sector{{}, {Same: true}, {}, {}})
	if len(got) != 8 {
		t.Errorf("%d subsets of three sectors: %v", len(got), got)
	}
	for word, n := range got {
		if n != 1 || word[1] != '1' {
			t.Errorf("%s is tried %d times", word, n)
		}
	}
}

func TestOfManySectorsTheTellingSubsetsAreTried(t *testing.T) {
	list := make([]Sector, 6)
	got := subsetsOf(Subsets{All: 5, Each: 6, Random: 9}, list)
	for _, word := range []string{"000000", "111111", "100000", "111000", "000100", "110111"} {
		if got[word] == 0 {
			t.Errorf("%s is not tried", word)
		}
	}
	many := Subsets{All: 5, Each: 7, Random: 9}
	if n := len(many.Plans(make([]Sector, 500), rand.New(rand.NewPCG(1, 1)))); n != 2+3*7+9 {
		t.Errorf("%d subsets of 500 sectors", n)
	}
}
