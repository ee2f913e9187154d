package wire

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func sampleRequest() IORequest {
	return IORequest{
		Copyset: 1, Volume: 2, Chunk: 3, Offset: 4096, Length: 8192, Session: 0xaabbccdd,
		Epoch: 5, OpID: 600, LowWater: 590, Flags: 1, CRCs: []uint32{0x01020304, 0xfffefdfc},
	}
}

func sampleResponse() IOResponse {
	return IOResponse{
		LeaderReplica: 11, LeaderNode: 2, LeaderAddr: "10.0.0.2:7001", RetryAfterMS: 20,
		Message: "not here", CRCs: []uint32{7},
	}
}

func sampleHello() Hello {
	return Hello{Version: 1, ClusterID: "c-1", NodeID: 9, Role: "node", Name: "n9"}
}

type codec interface {
	AppendTo([]byte) []byte
	Decode([]byte) error
}

func codecs() map[string][2]codec {
	req, resp, hello := sampleRequest(), sampleResponse(), sampleHello()
	return map[string][2]codec{
		"request":  {&req, new(IORequest)},
		"response": {&resp, new(IOResponse)},
		"hello":    {&hello, new(Hello)},
	}
}

func TestMetadataRoundTrip(t *testing.T) {
	for name, c := range codecs() {
		b := c[0].AppendTo([]byte("kept"))
		if string(b[:4]) != "kept" {
			t.Errorf("%s overwrote what was there", name)
		}
		if err := c[1].Decode(b[4:]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(c[0], c[1]) {
			t.Errorf("%s: got %+v, want %+v", name, c[1], c[0])
		}
	}
}

func TestMetadataBytesAreStable(t *testing.T) {
	for name, c := range codecs() {
		golden(t, name+".txt", c[0].AppendTo(nil))
	}
}

func TestTruncatedOrLengthenedMetadataIsRefused(t *testing.T) {
	for name, c := range codecs() {
		b := c[0].AppendTo(nil)
		for n := range b {
			if n == 0 && name == "response" {
				continue // the empty answer
			}
			if err := c[1].Decode(b[:n]); !errors.Is(err, ErrMeta) {
				t.Errorf("%s of %d bytes: %v", name, n, err)
			}
		}
		if err := c[1].Decode(append(b, 0)); !errors.Is(err, ErrMeta) {
			t.Errorf("%s with a byte too many: %v", name, err)
		}
	}
}

func TestSetReservedBytesAreRefused(t *testing.T) {
	for name, offsets := range map[string][]int{
		"request": {70, 71}, "response": {26, 27}, "hello": {4, 7, 22, 23},
	} {
		c := codecs()[name]
		for _, i := range offsets {
			b := c[0].AppendTo(nil)
			b[i] = 1
			if err := c[1].Decode(b); !errors.Is(err, ErrMeta) ||
				!strings.Contains(err.Error(), "reserved") {
				t.Errorf("%s byte %d: %v", name, i, err)
			}
		}
	}
}

func TestTooManyChecksumsAreRefusedWithoutAllocating(t *testing.T) {
	req := sampleRequest()
	b := req.AppendTo(nil)
	b[68], b[69] = 0xff, 0xff
	var got IORequest
	if err := got.Decode(b); !errors.Is(err, ErrMeta) || cap(got.CRCs) != 0 {
		t.Errorf("got %v with room for %d checksums", err, cap(got.CRCs))
	}
}

func TestAnswerWithNothingToSayHasNoMetadata(t *testing.T) {
	var r IOResponse
	if b := r.AppendTo(nil); len(b) != 0 {
		t.Errorf("% x", b)
	}
	r = sampleResponse()
	if err := r.Decode(nil); err != nil || !r.empty() {
		t.Errorf("%v %+v", err, r)
	}
}

func TestLongMessageIsCutAtACharacter(t *testing.T) {
	in := IOResponse{Message: strings.Repeat("é", MaxMessage)}
	in.LeaderAddr = strings.Repeat("a", MaxAddr+1)
	var out IOResponse
	if err := out.Decode(in.AppendTo(nil)); err != nil {
		t.Fatal(err)
	}
	if out.Message != strings.Repeat("é", MaxMessage/2) || out.LeaderAddr != "" {
		t.Errorf("%d bytes of message, address %q", len(out.Message), out.LeaderAddr)
	}
}

func TestHelloOfANewerVersionIsRefusedByNumber(t *testing.T) {
	newer := Hello{Version: 7}
	b := append(newer.AppendTo(nil), "fields of the future"...)
	err := new(Hello).Decode(b)
	if !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), "7") {
		t.Errorf("got %v", err)
	}
}

func TestHelloOfAnotherClusterIsRefusedByName(t *testing.T) {
	own := Hello{ClusterID: "east"}
	err := own.Accept(Hello{ClusterID: "west"})
	if !errors.Is(err, ErrWrongCluster) || !strings.Contains(err.Error(), "west") ||
		!strings.Contains(err.Error(), "east") {
		t.Errorf("got %v", err)
	}
	for _, ok := range []Hello{{ClusterID: "east"}, {}} {
		if err := own.Accept(ok); err != nil {
			t.Errorf("%+v: %v", ok, err)
		}
	}
}

func TestCheckRefusesRequestsThatMakeNoSense(t *testing.T) {
	good := sampleRequest()
	if err := good.Check(OpWrite, 8192); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		op      Op
		payload uint32
		change  func(r *IORequest)
	}{
		"empty":              {OpWrite, 0, func(r *IORequest) { r.Length = 0 }},
		"overflow":           {OpZero, 0, func(r *IORequest) { r.Offset, r.CRCs = 1<<32-1, nil }},
		"too long":           {OpRead, 0, func(r *IORequest) { r.Length, r.CRCs = 1<<20+1, nil }},
		"payload differs":    {OpWrite, 4096, func(*IORequest) {}},
		"checksum missing":   {OpWrite, 8192, func(r *IORequest) { r.CRCs = r.CRCs[:1] }},
		"unaligned needs 3":  {OpWrite, 8192, func(r *IORequest) { r.Offset++ }},
		"read with payload":  {OpRead, 1, func(r *IORequest) { r.CRCs = nil }},
		"read with checksum": {OpRead, 0, func(*IORequest) {}},
		"not a block op":     {OpPing, 0, func(*IORequest) {}},
		"fence of a range":   {OpFence, 0, func(*IORequest) {}},
		"fence of epoch 0":   {OpFence, 0, func(r *IORequest) { *r = IORequest{Volume: 1} }},
		"fence with payload": {OpFence, 1, func(r *IORequest) { *r = IORequest{Epoch: 1} }},
	} {
		r := sampleRequest()
		tc.change(&r)
		if err := r.Check(tc.op, tc.payload); !errors.Is(err, ErrBadRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	fence := IORequest{Copyset: 1, Volume: 2, Session: 3, Epoch: 4, LowWater: 5}
	if err := fence.Check(OpFence, 0); err != nil {
		t.Errorf("fence: %v", err)
	}
	zero := IORequest{Length: 16 << 20}
	if err := zero.Check(OpZero, 0); err != nil {
		t.Errorf("zero of a whole chunk: %v", err)
	}
}

func TestDecodingARequestAllocatesNothingInSteadyState(t *testing.T) {
	req := sampleRequest()
	b := req.AppendTo(nil)
	var got IORequest
	_ = got.Decode(b)
	if n := testing.AllocsPerRun(100, func() {
		b = req.AppendTo(b[:0])
		if got.Decode(b) != nil {
			t.Fatal("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations per request", n)
	}
}

// fuzzCodec checks that whatever decodes encodes back to the same bytes.
func fuzzCodec(f *testing.F, name string) {
	f.Add([]byte{})
	f.Add(codecs()[name][0].AppendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := codecs()[name][1]
		if c.Decode(b) != nil {
			return
		}
		again := c.AppendTo(nil)
		if len(again) == 0 && name == "response" {
			return // an answer of zeroes has two spellings
		}
		if !bytes.Equal(again, b) {
			t.Fatalf("accepted bytes do not encode back:\n% x\n% x", b, again)
		}
	})
}

func FuzzIORequest(f *testing.F)  { fuzzCodec(f, "request") }
func FuzzIOResponse(f *testing.F) { fuzzCodec(f, "response") }
func FuzzHello(f *testing.F)      { fuzzCodec(f, "hello") }
