package store

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/uuid"
)

func sampleIdentity() identity {
	m := identity{Format: identityFormat, Version: identityVersion, UUID: uuid.UUID{1, 2, 3},
		ChunkSize: 16 << 20, ClusterID: "c1", StoreID: 7}
	m.CRC = m.sum()
	return m
}

// Every byte of a store's identity, changed three ways: refused, or the same identity.
func TestIdentityOfAStoreIsGuarded(t *testing.T) {
	want := sampleIdentity()
	data, err := json.MarshalIndent(&want, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for at := range data {
		for _, b := range []byte{data[at] ^ 1, 0, 0xff} {
			bad := bytes.Clone(data)
			bad[at] = b
			got, err := decodeIdentity("x", bad)
			if err != nil {
				refused++
			} else if got.CRC = want.CRC; got != want {
				t.Fatalf("byte %d as %#x: %+v", at, b, got)
			}
		}
	}
	if refused < len(data) {
		t.Errorf("only %d of %d changes refused", refused, 3*len(data))
	}
}

func TestIdentityWithoutAChecksumIsRead(t *testing.T) {
	m := sampleIdentity()
	m.CRC = 0
	data, err := json.Marshal(&m)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := decodeIdentity("x", data); err != nil || got != m {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzIdentity(f *testing.F) {
	m := sampleIdentity()
	data, err := json.Marshal(&m)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := decodeIdentity("x", data)
		if err != nil {
			return
		}
		again, err := json.Marshal(&got)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := decodeIdentity("x", again); err != nil || back != got {
			t.Errorf("%+v comes back as %+v, %v", got, back, err)
		}
	})
}

func FuzzLost(f *testing.F) {
	list := []*lostReplica{{Copyset: 1, Replica: 2, Reason: "frame lost"}}
	data, err := json.Marshal(&lostList{Format: lostFormat, Version: lostVersion, Replicas: list,
		CRC: noteCRC(list)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := decodeLost(data)
		if err != nil {
			return
		}
		for _, r := range got {
			if r.err == nil {
				t.Errorf("%+v is not damaged", r)
			}
		}
	})
}
