//go:build rdma && cgo && linux

package ibv

// #include "card.h"
import "C"

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
)

// card is an opened card: verbs.Context.
type card struct {
	opt     Options
	device  verbs.Device
	handle  *C.struct_ibv_context
	soft    bool
	pd      *C.struct_ibv_pd
	channel *C.struct_rdma_event_channel
	events  *events
	faults  *faults

	regions atomic.Pointer[map[uint32]*region]

	mu    sync.Mutex
	last  uintptr // the newest handle
	links map[uintptr]receiver
	pairs map[uint32]*pair
	dead  bool
}

// receiver is who events of connections are for.
type receiver interface{ event(e *C.struct_card_event) }

func open(handle *C.struct_ibv_context, opt Options) (*card, error) {
	device, err := describe(handle)
	if err != nil {
		return nil, err
	}
	if err := agrees(device, opt); err != nil {
		return nil, err
	}
	c := &card{opt: opt, device: device, handle: handle, soft: soft(handle),
		links: map[uintptr]receiver{}, pairs: map[uint32]*pair{}}
	c.regions.Store(&map[uint32]*region{})
	if c.pd, err = C.ibv_alloc_pd(handle); c.pd == nil {
		return nil, failedBy(err, "protection domain of %s", device.Name)
	}
	if c.channel, err = C.rdma_create_event_channel(); c.channel == nil {
		return nil, errors.Join(failedBy(err, "event channel"),
			failed(C.ibv_dealloc_pd(c.pd), "protection domain"))
	}
	c.events, err = listen(int(c.channel.fd), "rdma_cm", c.takeEvent)
	if err == nil {
		c.faults, err = watch(c)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// agrees checks port and GID of the settings against the card.
func agrees(d verbs.Device, opt Options) error {
	for _, p := range d.Ports {
		if opt.Port != 0 && p.Number != opt.Port {
			continue
		}
		if opt.GIDIndex == AnyGID {
			return nil
		}
		for _, g := range p.GIDs {
			if g.Index == opt.GIDIndex {
				return nil
			}
		}
	}
	if opt.GIDIndex == AnyGID {
		return fmt.Errorf("%w: %s has %d ports, port %d was asked for", verbs.ErrNoDevice, d.Name,
			len(d.Ports), opt.Port)
	}
	return fmt.Errorf("%w: %s has no GID %d (see `ashlar rdma doctor`)", verbs.ErrNoDevice, d.Name,
		opt.GIDIndex)
}

func (c *card) Device() verbs.Device { return c.device }

// takeEvent hands one event of connections to whom it is for.
func (c *card) takeEvent() error {
	var e C.struct_card_event
	if code := C.card_cm_event(c.channel, &e); code != 0 {
		return syscall.Errno(code)
	}
	handle := uintptr(e.handle)
	if e.event == C.RDMA_CM_EVENT_CONNECT_REQUEST {
		handle = uintptr(e.listener)
	}
	c.mu.Lock()
	to := c.links[handle]
	c.mu.Unlock()
	switch {
	case to != nil:
		to.event(&e)
	case e.event == C.RDMA_CM_EVENT_CONNECT_REQUEST: // the listener is closed
		C.rdma_reject(e.id, nil, 0)
		C.rdma_destroy_id(e.id)
	}
	return nil
}

// enrol gives a receiver of events its handle.
func (c *card) enrol(r receiver) uintptr {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	c.links[c.last] = r
	return c.last
}

func (c *card) dismiss(handle uintptr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.links, handle)
}

// Register implements verbs.Context.
func (c *card) Register(mem []byte) (verbs.Region, error) {
	if len(mem) == 0 {
		return nil, errors.New("ibv: register: no memory")
	}
	mr, err := C.ibv_reg_mr(c.pd, unsafe.Pointer(&mem[0]), C.size_t(len(mem)),
		C.IBV_ACCESS_LOCAL_WRITE|C.IBV_ACCESS_MW_BIND)
	if mr == nil {
		return nil, whyNotRegistered(err, len(mem))
	}
	r := &region{card: c, mr: mr}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changeRegions(func(all map[uint32]*region) { all[r.Key()] = r })
	return r, nil
}

// changeRegions replaces the table, which requests look up without a lock.
func (c *card) changeRegions(change func(map[uint32]*region)) {
	next := map[uint32]*region{}
	for k, v := range *c.regions.Load() {
		next[k] = v
	}
	change(next)
	c.regions.Store(&next)
}

// whyNotRegistered tells the limit of locked memory from other reasons.
func whyNotRegistered(err error, size int) error {
	var limit unix.Rlimit
	refused := errors.Is(err, syscall.ENOMEM) || errors.Is(err, syscall.EPERM) ||
		errors.Is(err, syscall.EAGAIN)
	if refused && unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit) == nil && os.Geteuid() != 0 &&
		limit.Cur != unix.RLIM_INFINITY {
		return fmt.Errorf("%w: %d MiB are to be registered with the card and this process may "+
			"lock %d KiB (RLIMIT_MEMLOCK): set LimitMEMLOCK=infinity in the unit of systemd, or "+
			"`ulimit -l unlimited` in the shell that starts it", verbs.ErrMemlock, size>>20,
			limit.Cur>>10)
	}
	return failedBy(err, "register %d bytes", size)
}

// region is registered memory.
type region struct {
	card *card
	mr   *C.struct_ibv_mr
}

func (r *region) Key() uint32 { return uint32(r.mr.lkey) }

func (r *region) Close() error {
	r.card.mu.Lock()
	r.card.changeRegions(func(all map[uint32]*region) { delete(all, r.Key()) })
	r.card.mu.Unlock()
	return failed(C.ibv_dereg_mr(r.mr), "deregister memory")
}

// Close implements verbs.Context.
func (c *card) Close() error {
	c.mu.Lock()
	again := c.dead
	c.dead = true
	c.mu.Unlock()
	if again {
		return nil
	}
	if c.faults != nil {
		c.faults.leave(c)
	}
	if c.events != nil {
		c.events.stop()
	}
	C.rdma_destroy_event_channel(c.channel)
	return failed(C.ibv_dealloc_pd(c.pd), "protection domain of %s: something of it is still open",
		c.device.Name)
}
