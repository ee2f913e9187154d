package peer

import (
	"testing"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/buf"
)

// A card reads payloads after Send has returned and the message has been dropped.
func TestFrameKeepsItsPayloadsUntilTheTransportHasDoneWithIt(t *testing.T) {
	pool, err := buf.NewPool(buf.Config{Bytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	var m copyset.Message
	for range 3 {
		b, err := pool.Get(4096)
		if err != nil {
			t.Fatal(err)
		}
		m.Payloads = append(m.Payloads, copyset.NewPayload(b), copyset.Payload{})
	}
	release := holdOf(&m)
	m.Release()
	if n := pool.Stats().InUseBufs; n != 3 {
		t.Errorf("%d buffers are held, want 3", n)
	}
	release()
	if err := pool.Close(); err != nil {
		t.Error(err)
	}
	if holdOf(&copyset.Message{Payloads: make([]copyset.Payload, 2)}) != nil {
		t.Error("payloads without a buffer are held")
	}
}
