package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

// next is what the driver of a handshake has to do.
type next uint8

const (
	nextRead  next = iota // read more bytes and call feed again
	nextList              // ask the backend for its exports, then call answerList
	nextInfo              // describe the export handshake.asked, then call answerExport
	nextOpen              // open the export handshake.asked, then call answerExport
	nextEnter             // send the output; the transmission phase begins
	nextClose             // send the output and close the connection
)

// agreement is what a finished handshake settled.
type agreement struct {
	info       ExportInfo
	structured bool // structured replies were negotiated
	allocation bool // base:allocation was selected for this export
}

type phase uint8

const (
	phaseFlags  phase = iota // the client's 32 flag bits
	phaseOption              // an option header and its payload
	phaseSkip                // the rest of an option payload that is not looked at
	phaseAsk                 // the driver owes an answer
	phaseEnd
)

const (
	greetingSize     = 18
	optionHeaderSize = 16
	replyHeaderSize  = 20
	exportPadding    = 124
)

// handshake is the server's side of the fixed newstyle negotiation as a step machine: bytes in,
// replies out, questions to the driver in between. It reads no clock and owns no connection.
//
//	out := h.greeting(nil)
//	for { used, what, out, err := h.feed(in, out); ... answer, write out, drop used bytes ... }
//
// After an error the connection must be closed; what is in out should still be sent.
type handshake struct {
	defaultName string // stands in for the empty name

	phase      phase
	flags      uint32
	skip       int    // bytes left in phaseSkip
	skipReply  uint32 // sent when they are gone
	opt        option // the option being answered
	asked      string // its export
	queries    []string
	structured bool
	metaFor    string // export of the last successful optSetMeta that selected something
	metaOn     bool
	result     agreement
}

// greeting appends what the server says first.
func (h *handshake) greeting(out []byte) []byte {
	out = binary.BigEndian.AppendUint64(out, magicInit)
	out = binary.BigEndian.AppendUint64(out, magicOption)
	return binary.BigEndian.AppendUint16(out, handFixed|handNoZeroes)
}

// feed takes bytes of the client. It returns how many it used (call again with the rest and
// more), what to do next, and out with the replies appended.
func (h *handshake) feed(in, out []byte) (int, next, []byte, error) {
	used := 0
	for {
		n, what, more, err := h.step(in[used:], out)
		used += n
		out = more
		if err != nil {
			h.phase = phaseEnd
			return used, nextClose, out, err
		}
		if what != nextRead || n == 0 {
			return used, what, out, nil
		}
	}
}

// step handles at most one message; it uses no byte when the message is not complete.
func (h *handshake) step(in, out []byte) (int, next, []byte, error) {
	switch h.phase {
	case phaseFlags:
		if len(in) < 4 {
			return 0, nextRead, out, nil
		}
		return 4, nextRead, out, h.clientFlags(binary.BigEndian.Uint32(in))
	case phaseOption:
		return h.option(in, out)
	case phaseSkip:
		n := min(len(in), h.skip)
		h.skip -= n
		if h.skip == 0 {
			h.phase = phaseOption
			out = h.reply(out, h.skipReply, nil)
		}
		return n, nextRead, out, nil
	case phaseAsk:
		return 0, nextClose, out, errors.New("nbd: handshake fed while a question is open")
	}
	return 0, nextClose, out, ErrClosed
}

func (h *handshake) clientFlags(flags uint32) error {
	if unknown := flags &^ (clientFixed | clientNoZeroes); unknown != 0 {
		return fmt.Errorf("%w: unknown client flags %#x", ErrProtocol, unknown)
	}
	h.flags = flags
	h.phase = phaseOption
	return nil
}

// option decodes one option; the input must hold all of it unless it is too long to look at.
func (h *handshake) option(in, out []byte) (int, next, []byte, error) {
	if len(in) < optionHeaderSize {
		return 0, nextRead, out, nil
	}
	if got := binary.BigEndian.Uint64(in); got != magicOption {
		return 0, nextClose, out, fmt.Errorf("%w: option magic is %#016x, want %#016x",
			ErrProtocol, got, magicOption)
	}
	opt := option(binary.BigEndian.Uint32(in[8:]))
	size := int64(binary.BigEndian.Uint32(in[12:]))
	if h.flags&clientFixed == 0 && opt != optExportName {
		return 0, nextClose, out, fmt.Errorf(
			"%w: option %d from a client without fixed newstyle", ErrProtocol, opt)
	}
	if size > maxOption {
		return h.longOption(opt, size, out)
	}
	total := optionHeaderSize + int(size)
	if len(in) < total {
		return 0, nextRead, out, nil
	}
	h.opt = opt
	what, out, err := h.handle(in[optionHeaderSize:total], out)
	return total, what, out, err
}

// longOption keeps the framing over a payload that is not worth memory.
func (h *handshake) longOption(opt option, size int64, out []byte) (int, next, []byte, error) {
	if size > maxOptionSkip || opt == optExportName {
		return 0, nextClose, out, fmt.Errorf("%w: option %d has %d bytes of data, at most %d",
			ErrProtocol, opt, size, maxOptionSkip)
	}
	h.opt, h.skip, h.phase = opt, int(size), phaseSkip
	switch opt {
	case optList, optInfo, optGo, optStructured, optListMeta, optSetMeta:
		h.skipReply = repErrTooBig
	case optAbort, optStartTLS, optExportName:
		h.skipReply = repErrInvalid
	default:
		h.skipReply = repErrUnsup
	}
	if opt == optSetMeta {
		h.metaOn = false
	}
	return optionHeaderSize, nextRead, out, nil
}

func (h *handshake) handle(data, out []byte) (next, []byte, error) {
	switch h.opt {
	case optExportName:
		return h.exportName(data, out)
	case optAbort:
		h.phase = phaseEnd
		return nextClose, h.reply(out, repAck, nil), nil
	case optList:
		if len(data) != 0 {
			return nextRead, h.invalid(out, "list takes no data"), nil
		}
		h.phase = phaseAsk
		return nextList, out, nil
	case optInfo, optGo:
		return h.infoOrGo(data, out)
	case optStructured:
		if len(data) != 0 {
			return nextRead, h.invalid(out, "structured reply takes no data"), nil
		}
		h.structured = true
		return nextRead, h.reply(out, repAck, nil), nil
	case optListMeta, optSetMeta:
		return h.metaContext(data, out)
	case optStartTLS:
		if len(data) != 0 {
			return nextRead, h.invalid(out, "starttls takes no data"), nil
		}
		return nextRead, h.refuse(out, repErrPolicy, "this server does not offer TLS"), nil
	}
	return nextRead, h.refuse(out, repErrUnsup, "unknown option"), nil
}

func (h *handshake) exportName(data, out []byte) (next, []byte, error) {
	if len(data) > MaxName || !utf8.Valid(data) {
		return nextClose, out, fmt.Errorf("%w: export name of %d bytes is not a name",
			ErrProtocol, len(data))
	}
	h.ask(string(data))
	return nextOpen, out, nil
}

// infoOrGo decodes: name length 4, name, count 2, count information types of 2 bytes each. The
// types asked for do not matter: everything known is always sent, which the protocol allows.
func (h *handshake) infoOrGo(data, out []byte) (next, []byte, error) {
	name, rest, ok := cutString(data)
	if !ok || len(rest) < 2 || len(rest) != 2+2*int(binary.BigEndian.Uint16(rest)) {
		return nextRead, h.invalid(out, "lengths in the option do not add up"), nil
	}
	if !validName(name) {
		return nextRead, h.invalid(out, "the export name is not a name"), nil
	}
	h.ask(string(name))
	if h.opt == optGo {
		return nextOpen, out, nil
	}
	return nextInfo, out, nil
}

// metaContext decodes: name length 4, name, count 4, count queries (length 4, text).
func (h *handshake) metaContext(data, out []byte) (next, []byte, error) {
	if h.opt == optSetMeta {
		h.metaOn = false
	}
	if !h.structured {
		return nextRead, h.invalid(out, "negotiate structured replies first"), nil
	}
	name, rest, ok := cutString(data)
	if !ok || len(rest) < 4 || !validName(name) {
		return nextRead, h.invalid(out, "lengths in the option do not add up"), nil
	}
	count := binary.BigEndian.Uint32(rest)
	if count > maxQueries {
		return nextRead, h.refuse(out, repErrTooBig, "too many queries"), nil
	}
	rest = rest[4:]
	h.queries = h.queries[:0]
	for range count {
		var query []byte
		if query, rest, ok = cutString(rest); !ok || len(query) > MaxName {
			return nextRead, h.invalid(out, "a query is longer than the option"), nil
		}
		h.queries = append(h.queries, string(query))
	}
	if len(rest) != 0 {
		return nextRead, h.invalid(out, "bytes left after the last query"), nil
	}
	h.ask(string(name))
	return nextInfo, out, nil
}

func (h *handshake) ask(name string) {
	if name == "" {
		name = h.defaultName
	}
	h.asked = name
	h.phase = phaseAsk
}

// answerList gives the machine the exports it asked for with nextList.
func (h *handshake) answerList(exports []ExportInfo, err error, out []byte) []byte {
	h.phase = phaseOption
	if err != nil {
		return h.refuse(out, replyOf(err), err.Error())
	}
	for i := range exports {
		e := &exports[i]
		if len(e.Name) > MaxName {
			continue
		}
		text := clip(e.Description, MaxName)
		out = h.replyHeader(out, repServer, 4+len(e.Name)+len(text))
		out = binary.BigEndian.AppendUint32(out, uint32(len(e.Name)))
		out = append(append(out, e.Name...), text...)
	}
	return h.reply(out, repAck, nil)
}

// answerExport gives the machine the export it asked for with nextInfo or nextOpen, or the
// reason why there is none. nextEnter means that the transmission phase begins.
func (h *handshake) answerExport(info ExportInfo, err error, out []byte) (next, []byte) {
	h.phase = phaseOption
	info = info.withDefaults()
	switch {
	case h.opt == optExportName:
		return h.answerExportName(info, err, out)
	case err != nil:
		return nextRead, h.refuse(out, replyOf(err), err.Error())
	case h.opt == optListMeta || h.opt == optSetMeta:
		return nextRead, h.answerMeta(info, out)
	}
	out = h.replyHeader(out, repInfo, 12)
	out = binary.BigEndian.AppendUint16(out, infoExport)
	out = binary.BigEndian.AppendUint64(out, uint64(info.Size))
	out = binary.BigEndian.AppendUint16(out, uint16(info.Flags(h.structured)))
	out = h.infoText(out, infoName, info.Name)
	if info.Description != "" {
		out = h.infoText(out, infoDescription, info.Description)
	}
	out = h.replyHeader(out, repInfo, 14)
	out = binary.BigEndian.AppendUint16(out, infoBlockSize)
	out = binary.BigEndian.AppendUint32(out, info.MinBlock)
	out = binary.BigEndian.AppendUint32(out, info.PreferredBlock)
	out = binary.BigEndian.AppendUint32(out, info.MaxPayload)
	out = h.reply(out, repAck, nil)
	if h.opt == optInfo {
		return nextRead, out
	}
	return h.enter(info), out
}

// answerExportName has no way to tell an error: the connection is closed.
func (h *handshake) answerExportName(info ExportInfo, err error, out []byte) (next, []byte) {
	if err != nil {
		h.phase = phaseEnd
		return nextClose, out
	}
	out = binary.BigEndian.AppendUint64(out, uint64(info.Size))
	out = binary.BigEndian.AppendUint16(out, uint16(info.Flags(h.structured)))
	if h.flags&clientNoZeroes == 0 {
		out = append(out, make([]byte, exportPadding)...)
	}
	return h.enter(info), out
}

func (h *handshake) enter(info ExportInfo) next {
	h.phase = phaseEnd
	h.result = agreement{
		info:       info,
		structured: h.structured,
		allocation: h.metaOn && h.metaFor == h.asked && info.Extents,
	}
	return nextEnter
}

func (h *handshake) answerMeta(info ExportInfo, out []byte) []byte {
	matched := info.Extents && h.matchesAllocation()
	id := uint32(0)
	if h.opt == optSetMeta {
		h.metaOn, h.metaFor, id = matched, h.asked, metaAllocationID
	}
	if matched {
		out = h.replyHeader(out, repMetaContext, 4+len(metaAllocation))
		out = binary.BigEndian.AppendUint32(out, id)
		out = append(out, metaAllocation...)
	}
	return h.reply(out, repAck, nil)
}

// matchesAllocation: listing knows the wildcards "no query" and "base:", selecting does not.
func (h *handshake) matchesAllocation() bool {
	list := h.opt == optListMeta
	for _, q := range h.queries {
		if q == metaAllocation || list && q == "base:" {
			return true
		}
	}
	return list && len(h.queries) == 0
}

func (h *handshake) infoText(out []byte, kind uint16, text string) []byte {
	text = clip(text, MaxName)
	out = h.replyHeader(out, repInfo, 2+len(text))
	out = binary.BigEndian.AppendUint16(out, kind)
	return append(out, text...)
}

func (h *handshake) invalid(out []byte, why string) []byte {
	return h.refuse(out, repErrInvalid, why)
}

func (h *handshake) refuse(out []byte, kind uint32, why string) []byte {
	return h.reply(out, kind, []byte(clip(why, maxErrorText)))
}

func (h *handshake) reply(out []byte, kind uint32, data []byte) []byte {
	return append(h.replyHeader(out, kind, len(data)), data...)
}

// replyHeader appends: magic 8, option 4, kind 4, length of the data 4.
func (h *handshake) replyHeader(out []byte, kind uint32, n int) []byte {
	out = binary.BigEndian.AppendUint64(out, magicReply)
	out = binary.BigEndian.AppendUint32(out, uint32(h.opt))
	out = binary.BigEndian.AppendUint32(out, kind)
	return binary.BigEndian.AppendUint32(out, uint32(n))
}

// replyOf picks the reply that tells err.
func replyOf(err error) uint32 {
	switch {
	case errors.Is(err, ErrPolicy):
		return repErrPolicy
	case errors.Is(err, ErrClosed) || errors.Is(err, ESHUTDOWN):
		return repErrShutdown
	}
	return repErrUnknown
}

// cutString takes a string with a 4-byte length off the front of b.
func cutString(b []byte) (s, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := int64(binary.BigEndian.Uint32(b))
	if n > int64(len(b)-4) {
		return nil, nil, false
	}
	return b[4 : 4+n], b[4+n:], true
}

func validName(b []byte) bool { return len(b) <= MaxName && utf8.Valid(b) }

// clip cuts text to n bytes without splitting a character.
func clip(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}
