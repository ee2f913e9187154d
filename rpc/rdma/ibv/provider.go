//go:build rdma && cgo && linux

package ibv

// #cgo LDFLAGS: -lrdmacm -libverbs
// #include "card.h"
import "C"

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"unsafe"

	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
)

// Built says whether this program can use cards.
const Built = true

// provider is what librdmacm knows of this machine. Its handles of cards live as long as the
// process: queue pairs that rdma_cm connects must be made from those.
type provider struct {
	opt   Options
	cards []*C.struct_ibv_context
}

// New looks for cards. verbs.ErrNoDevice when there is none, and what to do about it.
func New(opt Options) (verbs.Provider, error) {
	p := &provider{opt: opt}
	var n C.int
	list, err := C.card_devices(&n)
	if list == nil {
		return nil, fmt.Errorf("%w: %s", verbs.ErrNoDevice, whyNoCards(err))
	}
	defer C.rdma_free_devices(list)
	p.cards = append(p.cards, unsafe.Slice(list, int(n))...)
	if len(p.cards) == 0 {
		return nil, fmt.Errorf("%w: %s", verbs.ErrNoDevice, whyNoCards(nil))
	}
	return p, nil
}

// whyNoCards says which part of the way from the kernel to a card is missing.
func whyNoCards(said error) string {
	cards, _ := os.ReadDir("/sys/class/infiniband")
	if len(cards) == 0 {
		return "the kernel has no RDMA card: load its driver (modprobe mlx5_ib, irdma, ...), or " +
			"make a soft one on an interface: modprobe rdma_rxe; " +
			"rdma link add rxe0 type rxe netdev eth0"
	}
	_, err := os.Stat("/dev/infiniband/rdma_cm")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "no /dev/infiniband/rdma_cm: modprobe rdma_ucm"
	case err != nil:
		return err.Error()
	}
	f, err := os.OpenFile("/dev/infiniband/rdma_cm", os.O_RDWR, 0)
	if err != nil {
		return fmt.Sprintf("%v: this user may not use cards: add it to the group that owns "+
			"/dev/infiniband/*", err)
	}
	_ = f.Close()
	return fmt.Sprintf("the kernel has %s, of which this program has no driver (%v): it has those "+
		"that `make build-rdma` names", cards[0].Name(), said)
}

// Devices implements verbs.Provider.
func (p *provider) Devices() ([]verbs.Device, error) {
	var out []verbs.Device
	for _, c := range p.cards {
		d, err := describe(c)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

// Open implements verbs.Provider.
func (p *provider) Open(name string) (verbs.Context, error) {
	if name == "" {
		name = p.opt.Device
	}
	var names []string
	for _, c := range p.cards {
		have := nameOf(c)
		if have == name || name == "" && len(p.cards) == 1 {
			return open(c, p.opt)
		}
		names = append(names, have)
	}
	if name == "" {
		return nil, fmt.Errorf("%w: there are several, name one: %s", verbs.ErrNoDevice,
			strings.Join(names, ", "))
	}
	return nil, fmt.Errorf("%w: %q: there are %s", verbs.ErrNoDevice, name,
		strings.Join(names, ", "))
}

func nameOf(c *C.struct_ibv_context) string { return C.GoString(C.ibv_get_device_name(c.device)) }

// failed makes an error of what a function of card.h returns.
func failed(code C.int, doing string, args ...any) error {
	if code == 0 {
		return nil
	}
	return fmt.Errorf("ibv: %s: %w", fmt.Sprintf(doing, args...), syscall.Errno(code))
}

// failedBy makes an error of what a function left in errno.
func failedBy(err error, doing string, args ...any) error {
	if err == nil {
		err = syscall.EIO
	}
	return fmt.Errorf("ibv: %s: %w", fmt.Sprintf(doing, args...), err)
}
