package nbd

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// golden compares got with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: the bytes on the wire have changed; got\n%s", path, got)
	}
}

// opt builds an option as a client sends it.
func opt(o option, data []byte) []byte {
	b := binary.BigEndian.AppendUint64(nil, magicOption)
	b = binary.BigEndian.AppendUint32(b, uint32(o))
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	return append(b, data...)
}

func infoData(name string, kinds ...uint16) []byte {
	b := appendString(nil, name)
	b = binary.BigEndian.AppendUint16(b, uint16(len(kinds)))
	for _, k := range kinds {
		b = binary.BigEndian.AppendUint16(b, k)
	}
	return b
}

func metaData(name string, queries ...string) []byte {
	b := appendString(nil, name)
	b = binary.BigEndian.AppendUint32(b, uint32(len(queries)))
	for _, q := range queries {
		b = appendString(b, q)
	}
	return b
}

func clientFlagBytes(f uint32) []byte { return binary.BigEndian.AppendUint32(nil, f) }

// peerless drives a handshake without a connection, against two exports.
type peerless struct {
	h   handshake
	end next
	err error
}

func testExport(name string) (ExportInfo, error) {
	switch name {
	case "vol":
		return fullInfo("vol", 1<<30), nil
	case "plain":
		return ExportInfo{Name: "plain", Size: 12345, ReadOnly: true}, nil
	case "secret":
		return ExportInfo{}, fmt.Errorf("%w: not for you", ErrPolicy)
	case "late":
		return ExportInfo{}, ErrClosed
	}
	return ExportInfo{}, ErrUnknownExport
}

// say feeds bytes of the client in parts of step bytes and returns what the server answers.
func (p *peerless) say(in []byte, step int) []byte {
	var out, pending []byte
	for len(in) > 0 && p.end == nextRead && p.err == nil {
		n := min(step, len(in))
		pending, in = append(pending, in[:n]...), in[n:]
		for p.end == nextRead {
			var used int
			var what next
			used, what, out, p.err = p.h.feed(pending, out)
			pending = pending[used:]
			if what == nextRead {
				break
			}
			what, out = p.answer(what, out)
			p.end = what
		}
	}
	return out
}

func (p *peerless) answer(what next, out []byte) (next, []byte) {
	switch what {
	case nextList:
		vol, _ := testExport("vol")
		plain, _ := testExport("plain")
		return nextRead, p.h.answerList([]ExportInfo{vol, plain}, nil, out)
	case nextInfo, nextOpen:
		info, err := testExport(p.h.asked)
		return p.h.answerExport(info, err, out)
	}
	return what, out
}

func TestHandshakeTracesAreStable(t *testing.T) {
	const fixed = clientFixed | clientNoZeroes
	traces := []struct {
		name string
		says [][]byte
	}{
		{"export-name", [][]byte{clientFlagBytes(0), opt(optExportName, []byte("plain"))}},
		{"export-name-no-zeroes", [][]byte{clientFlagBytes(fixed),
			opt(optExportName, []byte("vol"))}},
		{"list-abort", [][]byte{clientFlagBytes(fixed), opt(optList, nil),
			opt(optAbort, []byte("ignored"))}},
		{"info-go", [][]byte{clientFlagBytes(clientFixed),
			opt(optInfo, infoData("nosuch")), opt(optInfo, infoData("vol", infoBlockSize)),
			opt(optStructured, nil), opt(optGo, infoData("vol", infoName, infoBlockSize))}},
		{"meta-context", [][]byte{clientFlagBytes(fixed),
			opt(optListMeta, metaData("vol")), opt(optStructured, nil),
			opt(optListMeta, metaData("vol")), opt(optListMeta, metaData("vol", "base:")),
			opt(optListMeta, metaData("plain")), opt(optSetMeta, metaData("vol", "base:", "x-y:z")),
			opt(optSetMeta, metaData("vol", "qemu:dirty", "base:allocation")),
			opt(optGo, infoData("vol"))}},
		{"refusals", [][]byte{clientFlagBytes(fixed), opt(optStartTLS, nil), opt(99, []byte("???")),
			opt(4, nil), opt(optList, []byte{1}), opt(optStructured, []byte{1}),
			opt(optStartTLS, []byte{1}), opt(optInfo, []byte{0, 0, 0, 9, 'x', 0, 0}),
			opt(optGo, infoData("secret")), opt(optGo, infoData("late")),
			opt(optInfo, infoData("\xff\xfe")), opt(optGo, infoData("plain"))}},
	}
	for _, tr := range traces {
		t.Run(tr.name, func(t *testing.T) {
			p := &peerless{}
			var b strings.Builder
			fmt.Fprintf(&b, "server\n%s", hex.Dump(p.h.greeting(nil)))
			for _, s := range tr.says {
				fmt.Fprintf(&b, "client\n%s", hex.Dump(s))
				if out := p.say(s, 1<<20); len(out) > 0 {
					fmt.Fprintf(&b, "server\n%s", hex.Dump(out))
				}
			}
			fmt.Fprintf(&b, "end %d structured %v allocation %v error %v\n", p.end,
				p.h.result.structured, p.h.result.allocation, p.err)
			golden(t, "handshake-"+tr.name+".txt", b.String())
		})
	}
}

// replies lists the kinds of the replies in out.
func replies(t *testing.T, out []byte) (kinds []uint32) {
	t.Helper()
	for len(out) > 0 {
		if len(out) < replyHeaderSize || binary.BigEndian.Uint64(out) != magicReply {
			t.Fatalf("not a reply: % x", out)
		}
		kinds = append(kinds, binary.BigEndian.Uint32(out[12:]))
		out = out[replyHeaderSize+binary.BigEndian.Uint32(out[16:]):]
	}
	return kinds
}

func TestLongOptionsAreSkippedAndTheFramingKept(t *testing.T) {
	long := make([]byte, maxOption+1)
	for _, c := range []struct {
		opt  option
		want uint32
	}{{optInfo, repErrTooBig}, {optSetMeta, repErrTooBig}, {77, repErrUnsup},
		{optStartTLS, repErrInvalid}} {
		for _, step := range []int{1 << 20, 1000} {
			p := &peerless{}
			in := append(clientFlagBytes(clientFixed), opt(c.opt, long)...)
			in = append(in, opt(optStructured, nil)...)
			got := replies(t, p.say(in, step))
			if p.err != nil || len(got) != 2 || got[0] != c.want || got[1] != repAck {
				t.Errorf("option %d: replies %#x, error %v", c.opt, got, p.err)
			}
		}
	}
}

func TestHandshakeEndsOnWhatCannotBeAnswered(t *testing.T) {
	cases := map[string][]byte{
		"unknown client flag":  clientFlagBytes(clientFixed | 1<<7),
		"option magic":         append(clientFlagBytes(clientFixed), make([]byte, 16)...),
		"option without fixed": append(clientFlagBytes(0), opt(optList, nil)...),
		"option of a gigabyte": append(clientFlagBytes(clientFixed), hugeOption(99)...),
		"export name of a megabyte": append(clientFlagBytes(clientFixed),
			hugeOption(optExportName)...),
		"export name not text": append(clientFlagBytes(clientFixed),
			opt(optExportName, []byte{0xff})...),
	}
	for name, in := range cases {
		p := &peerless{}
		p.say(in, 1<<20)
		if !errors.Is(p.err, ErrProtocol) || p.end != nextClose {
			t.Errorf("%s: end %d, error %v", name, p.end, p.err)
		}
	}
	p := &peerless{}
	out := p.say(append(clientFlagBytes(clientFixed), opt(optExportName, []byte("no"))...), 99)
	if p.end != nextClose || len(out) != 0 {
		t.Errorf("unknown export by name: end %d, said % x", p.end, out)
	}
}

// hugeOption is the header of an option whose data never comes.
func hugeOption(o option) []byte {
	b := opt(o, nil)
	binary.BigEndian.PutUint32(b[12:], 1<<30)
	return b
}

func TestMetadataIsSelectedOnlyForTheExportItWasAskedFor(t *testing.T) {
	sequence := func(says ...[]byte) *peerless {
		p := &peerless{}
		p.say(bytes.Join(append([][]byte{clientFlagBytes(clientFixed), opt(optStructured, nil)},
			says...), nil), 1<<20)
		return p
	}
	set := opt(optSetMeta, metaData("vol", metaAllocation))
	enter := opt(optGo, infoData("vol"))
	if p := sequence(set, enter); !p.h.result.allocation {
		t.Error("selected, but not in force")
	}
	other := opt(optSetMeta, metaData("plain", metaAllocation))
	failed := opt(optSetMeta, []byte{1})
	none := opt(optSetMeta, metaData("vol"))
	for name, p := range map[string]*peerless{
		"for another export":          sequence(other, enter),
		"replaced by a failed option": sequence(set, failed, enter),
		"replaced by an empty option": sequence(set, none, enter),
	} {
		if p.end != nextEnter || p.h.result.allocation {
			t.Errorf("%s: end %d, allocation in force: %v", name, p.end, p.h.result.allocation)
		}
	}
}

func TestLongTextsAreClippedBetweenCharacters(t *testing.T) {
	text := strings.Repeat("é", MaxName)
	p := &peerless{}
	p.h.opt = optGo
	info := ExportInfo{Name: "x", Description: text, Size: 1}
	_, out := p.h.answerExport(info, nil, nil)
	if got := replies(t, out); len(got) != 5 {
		t.Errorf("replies %v", got)
	}
	if got := clip(text, 7); got != "ééé" {
		t.Errorf("clip gave %q", got)
	}
}

func FuzzHandshake(f *testing.F) {
	f.Add(append(clientFlagBytes(3), opt(optList, nil)...), 7)
	f.Add(append(clientFlagBytes(1), opt(optGo, infoData("vol", 3))...), 1)
	f.Add(append(clientFlagBytes(1), opt(optSetMeta, metaData("vol", "base:"))...), 100)
	f.Add(append(clientFlagBytes(1), opt(optStructured, nil)...), 3)
	f.Add(append(clientFlagBytes(1), hugeOption(9)...), 3)
	f.Fuzz(func(t *testing.T, in []byte, step int) {
		if step < 1 || len(in) > 1<<16 {
			return
		}
		whole, parts := &peerless{}, &peerless{}
		a, b := whole.say(in, 1<<20), parts.say(in, step)
		if !bytes.Equal(a, b) || whole.end != parts.end {
			t.Errorf("the outcome depends on how the bytes arrive")
		}
		// At most one reply set per option header, and each is small beside this bound.
		if limit := (len(in)/optionHeaderSize + 1) * 4096; len(a) > limit {
			t.Errorf("%d bytes in, %d bytes out", len(in), len(a))
		}
	})
}
