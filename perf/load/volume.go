package load

import "github.com/ashlar-storage/ashlar/rpc/client"

// Volume is the engine of the native client.
type Volume struct{ V *client.Volume }

// Submit implements Engine.
func (e Volume) Submit(op *Op) {
	c, _ := op.Engine.(*client.Op)
	if c == nil {
		c = &client.Op{User: op, Done: func(c *client.Op) {
			op := c.User.(*Op)
			op.Err = c.Err
			op.Done(op)
		}}
		op.Engine = c
	}
	c.Kind, c.Off, c.Data = client.OpRead, op.Off, op.Data
	if op.Write {
		c.Kind = client.OpWrite
	}
	e.V.Submit(c)
}
