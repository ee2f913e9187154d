package transport

import (
	"errors"
	"fmt"

	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// AnswerHello is what a server of any transport makes of a greeting (its header and metadata): the
// answer to send, and who the peer is. With an error, of class ErrHello, the answer says why it is
// refused, and the connection ends once it has left.
func AnswerHello(own *wire.Hello, h wire.Header, meta []byte) (Message, *wire.Hello, error) {
	peer := new(wire.Hello)
	err := peer.Decode(meta)
	if err == nil {
		err = own.Accept(*peer)
	}
	answer := wire.Header{Op: wire.OpHello, Flags: wire.FlagResponse, ID: h.ID}
	if err == nil {
		return Message{Header: answer, Meta: own.AppendTo(nil)}, peer, nil
	}
	answer.Status = wire.StatusBadRequest
	if !errors.Is(err, wire.ErrMeta) {
		answer.Status = wire.StatusOf(err)
	}
	r := wire.IOResponse{Message: err.Error()}
	return Message{Header: answer, Meta: r.AppendTo(nil)}, nil, fmt.Errorf("%w: %w", ErrHello, err)
}

// TakeHello is what a client of any transport makes of the answer to its greeting. A refusal gives
// the error class of its status.
func TakeHello(own *wire.Hello, h wire.Header, meta []byte) (*wire.Hello, error) {
	if h.Op != wire.OpHello || !h.Response() {
		return nil, fmt.Errorf("%w: first answer is %v", ErrHello, h.Op)
	}
	if err := h.Status.Err(); err != nil {
		var r wire.IOResponse
		if r.Decode(meta) == nil && r.Message != "" {
			return nil, fmt.Errorf("%w: the peer says: %s", err, r.Message)
		}
		return nil, err
	}
	peer := new(wire.Hello)
	if err := peer.Decode(meta); err != nil {
		return nil, err
	}
	return peer, own.Accept(*peer)
}
