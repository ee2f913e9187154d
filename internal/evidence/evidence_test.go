package evidence

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestAnItemIsKeptAsAFileOfItsLane(t *testing.T) {
	folder := t.TempDir()
	t.Setenv(Environment, folder)
	want := Item{Lane: "crash", Name: "log, length 3", Promises: []string{"P1"},
		Test: "io/wal TestX", Counts: map[string]int64{"states": 7, "violations": 0}}
	Record(t, want)
	data, err := os.ReadFile(filepath.Join(folder, "crash", "log--length-3.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got Item
	if err := json.Unmarshal(data, &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("kept %+v, %v", got, err)
	}
}

func TestWithoutAFolderNothingIsWritten(t *testing.T) {
	t.Setenv(Environment, "")
	Record(t, Item{Lane: "crash", Name: "x"})
}
