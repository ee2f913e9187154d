package peer

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"testing"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

var sampleList = ListRequest{Copyset: 1, Replica: 0x1122334455667788, Applied: 3}

var samplePage = ListRequest{Copyset: 1, Replica: 0x1122334455667788, Applied: 3, Paged: true,
	From: copyset.Chunk{Volume: 4, Index: 0x1122334455667788}}

var sampleBlocks = BlocksRequest{Copyset: 1, Replica: 2, Volume: 3, Chunk: 0x1122334455667788,
	Applied: 5, First: 6, Count: 0x01020304, Urgent: true}

var sampleChunks = []copyset.ListedChunk{{Chunk: copyset.Chunk{Volume: 1, Index: 2},
	LastWrite: 0x1122334455667788}, {Chunk: copyset.Chunk{Volume: 3}}}

func TestRequestFormatsAreStable(t *testing.T) {
	for name, c := range map[string]struct {
		got  []byte
		want string
	}{
		"list": {sampleList.AppendTo(nil), "0100000000000000" + "8877665544332211" +
			"0300000000000000"},
		"page": {samplePage.AppendTo(nil), "0100000000000000" + "8877665544332211" +
			"0300000000000000" + "0400000000000000" + "8877665544332211"},
		"blocks": {sampleBlocks.AppendTo(nil), "0100000000000000" + "0200000000000000" +
			"0300000000000000" + "8877665544332211" + "0500000000000000" + "06000000" + "04030201" +
			"01000000" + "00000000"},
		"chunks": {AppendChunks(nil, sampleChunks), "02000000" +
			"0100000000000000" + "0200000000000000" + "8877665544332211" +
			"0300000000000000" + "0000000000000000" + "0000000000000000"},
	} {
		if got := hex.EncodeToString(c.got); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestRequestsOfAnyOtherLengthAreRefused(t *testing.T) {
	list, blocks := sampleList.AppendTo(nil), sampleBlocks.AppendTo(nil)
	var gotList ListRequest
	if err := gotList.Decode(list); err != nil || gotList != sampleList {
		t.Error(gotList, err)
	}
	page := samplePage.AppendTo(nil)
	if err := gotList.Decode(page); err != nil || gotList != samplePage {
		t.Error(gotList, err)
	}
	var got BlocksRequest
	if err := got.Decode(blocks); err != nil || got != sampleBlocks {
		t.Error(got, err)
	}
	for n := range len(blocks) + 2 {
		b := make([]byte, n)
		if err := gotList.Decode(b); (err == nil) != (n == len(list) || n == len(page)) ||
			err != nil && !errors.Is(err, ErrBadRequest) {
			t.Errorf("list of %d bytes: %v", n, err)
		}
		if err := got.Decode(b); (err == nil) != (n == len(blocks)) ||
			err != nil && !errors.Is(err, ErrBadRequest) {
			t.Errorf("blocks of %d bytes: %v", n, err)
		}
	}
	for _, at := range []int{48, 52} { // flags and reserved
		b := bytes.Clone(blocks)
		b[at] |= 2
		if err := got.Decode(b); !errors.Is(err, ErrBadRequest) {
			t.Errorf("byte %d is %d: %v", at, b[at], err)
		}
	}
}

func TestChunkListIsBounded(t *testing.T) {
	b := AppendChunks(nil, sampleChunks)
	got, err := DecodeChunks(b)
	if err != nil || !reflect.DeepEqual(got, sampleChunks) {
		t.Error(got, err)
	}
	for _, n := range []int{0, 3, len(b) - 1, len(b) + 1, 4 + 24*(MaxChunks+1)} {
		long := append(bytes.Clone(b), make([]byte, n)...)[:n]
		if _, err := DecodeChunks(long); !errors.Is(err, ErrBadRequest) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if most := 4 + 24*MaxChunks; most > wire.MaxPayload {
		t.Errorf("a list of %d bytes fits no frame", most)
	}
	b[0]--
	if _, err := DecodeChunks(b); !errors.Is(err, ErrBadRequest) {
		t.Errorf("another version: %v", err)
	}
}

func FuzzRequests(f *testing.F) {
	f.Add(sampleList.AppendTo(nil))
	f.Add(samplePage.AppendTo(nil))
	f.Add(sampleBlocks.AppendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var list ListRequest
		if list.Decode(b) == nil {
			if again := list.AppendTo(nil); !bytes.Equal(again, b) {
				t.Errorf("%x encodes to %x", b, again)
			}
		}
		var r BlocksRequest
		if r.Decode(b) == nil && !bytes.Equal(r.AppendTo(nil), b) {
			t.Errorf("%x encodes to %x", b, r.AppendTo(nil))
		}
		if list, err := DecodeChunks(b); err == nil && !bytes.Equal(AppendChunks(nil, list), b) {
			t.Errorf("%x encodes to %x", b, AppendChunks(nil, list))
		}
	})
}
