package schedule

import (
	"reflect"
	"testing"
	"time"
)

// A limit without a name could not be changed, and nobody would notice.
func TestEveryLimitHasASetting(t *testing.T) {
	changed := Limits{Paused: 1}
	names := map[string]bool{}
	for _, s := range Settings() {
		if names[s.Name] || s.About == "" {
			t.Errorf("%q is there twice, or says nothing", s.Name)
		}
		names[s.Name] = true
		_, most := s.Bounds()
		if err := s.Set(&changed, most); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
		if s.Value(changed) != most {
			t.Errorf("%s is %s, not %s", s.Name, s.Value(changed), most)
		}
	}
	v := reflect.ValueOf(changed)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("no setting changes %s", v.Type().Field(i).Name)
		}
	}
}

func TestSettingsTakeWhatTheyShowAndNothingBeyondTheirBounds(t *testing.T) {
	for _, s := range Settings() {
		lim := DefaultLimits()
		if err := s.Set(&lim, s.Value(lim)); err != nil || lim != DefaultLimits() {
			t.Errorf("%s does not take its own default: %v", s.Name, err)
		}
		least, most := s.Bounds()
		if err := s.Set(&lim, least); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
		was := lim
		for _, bad := range []string{"", "x", "-1", most + "0", "-1s", "1e3", "99999999h"} {
			if err := s.Set(&lim, bad); err == nil || lim != was {
				t.Errorf("%s takes %q", s.Name, bad)
			}
		}
	}
}

func TestBalanceFollowsItsSlack(t *testing.T) {
	v := View{Scene: Scene{Now: seconds(100)}}
	for i := range 4 {
		v.Stores = append(v.Stores, Store{ID: uint64(i + 1), Up: true, UpSince: start,
			Zone: []string{"a", "b", "c", "c"}[i], Node: []string{"1", "2", "3", "4"}[i]})
	}
	for i := range 40 { // 24 replicas on store 3, 16 on store 4; the mean of all is 30
		c := Copyset{ID: uint64(i + 1), Leader: uint64(10*i + 1)}
		for j, at := range []uint64{1, 2, 3 + uint64(i%5/3)} {
			c.Replicas = append(c.Replicas, Replica{ID: uint64(10*i + j + 1), Store: at,
				CaughtUp: true})
		}
		v.Copysets = append(v.Copysets, c)
	}
	lim := DefaultLimits()
	if got := len(Balance(v, lim).Operators); got == 0 {
		t.Error("nothing moves at 5 %")
	}
	lim.BalanceSlack = 30
	if got := Balance(v, lim).Operators; len(got) != 0 {
		t.Errorf("moves at 30 %%: %v", got)
	}
	lim.BalanceSlack, lim.CoolDown = 0, time.Second
	if got := len(Balance(v, lim).Operators); got == 0 {
		t.Error("nothing moves without slack")
	}
}
