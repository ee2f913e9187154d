package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/cloudwego/kitex/client/callopt"

	"github.com/ashlar-storage/ashlar/rpc/admin"
	ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
	"github.com/ashlar-storage/ashlar/rpc/client"
	"github.com/ashlar-storage/ashlar/rpc/nbd"
)

// directory is what the gateway asks the control plane about volumes.
type directory interface {
	GetVolume(context.Context, *ashlar.GetVolumeRequest, ...callopt.Option) (
		*ashlar.GetVolumeResponse, error)
	ListVolumes(context.Context, *ashlar.ListVolumesRequest, ...callopt.Option) (
		*ashlar.ListVolumesResponse, error)
}

// volume is an attached volume.
type volume interface {
	ID() uint64
	Size() int64
	Refresh(context.Context) error
	Submit(*client.Op)
	Flush() error
	Stats() client.Stats
	Close() error
}

// opener attaches volumes.
type opener func(ctx context.Context, name string) (volume, error)

// backend implements nbd.Backend and nbd.Describer.
type backend struct {
	ctx      context.Context // ends with the gateway
	dir      directory
	open     opener
	readOnly bool
	log      *slog.Logger

	mu     sync.Mutex
	opened map[uint64]*shared // by the number of the volume: names may change while it is open
}

// shared is a volume with the connections that use it.
type shared struct {
	backend *backend
	id      uint64
	name    string        // when it was opened
	users   int           // guarded by backend.mu
	ready   chan struct{} // closed when volume or err is set
	volume  volume
	err     error
}

var (
	_ nbd.Backend   = (*backend)(nil)
	_ nbd.Describer = (*backend)(nil)
)

// Lookup implements nbd.Backend. It asks the control plane which volume has the name now, also
// where one is open that had it before: it may have been renamed, and the name given to another.
func (b *backend) Lookup(name string) (nbd.Export, error) {
	vol, err := b.find(name)
	if err != nil {
		return nil, err
	}
	name = vol.GetName()
	s := b.join(vol.GetVolumeId(), name)
	<-s.ready
	if s.err != nil {
		return nil, errors.Join(s.err, b.release(s))
	}
	b.refresh(s, int64(vol.GetSizeBytes()))
	return &export{shared: s, info: describe(name, s.volume.Size(), b.readOnly)}, nil
}

// refresh has an attached volume learn a size that it has now. Should that fail, the connection
// gets the old one.
func (b *backend) refresh(s *shared, size int64) {
	if size <= s.volume.Size() {
		return
	}
	ctx, cancel := context.WithTimeout(b.ctx, openTimeout)
	defer cancel()
	if err := s.volume.Refresh(ctx); err != nil {
		b.log.Warn("the new size is not known yet", "volume", s.name, "err", err)
	}
}

// join finds the open volume of that number or opens it; the caller waits for ready.
func (b *backend) join(id uint64, name string) *shared {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.opened[id]; s != nil && s.usable() {
		s.users++
		return s
	}
	s := &shared{backend: b, id: id, name: name, users: 1, ready: make(chan struct{})}
	b.opened[id] = s
	go b.attach(s)
	return s
}

// usable says whether a further connection may share the volume: not after it failed or was fenced.
func (s *shared) usable() bool {
	select {
	case <-s.ready:
		return s.err == nil && s.volume.Flush() == nil
	default:
		return true
	}
}

func (b *backend) attach(s *shared) {
	defer close(s.ready)
	ctx, cancel := context.WithTimeout(b.ctx, openTimeout)
	defer cancel()
	s.volume, s.err = b.open(ctx, s.name)
	if s.err != nil {
		b.log.Warn("volume not opened", "volume", s.name, "err", s.err)
		s.err = unknown(s.name, s.err)
		return
	}
	if s.volume.ID() != s.id {
		s.err = fmt.Errorf("%w: volume %.80q was renamed just now", nbd.ErrUnknownExport, s.name)
		return
	}
	b.log.Info("volume opened", "volume", s.name, "bytes", s.volume.Size())
}

// release gives up one use; the last one closes the volume.
func (b *backend) release(s *shared) error {
	b.mu.Lock()
	s.users--
	last := s.users == 0
	if last && b.opened[s.id] == s {
		delete(b.opened, s.id)
	}
	b.mu.Unlock()
	if !last || s.volume == nil {
		return nil
	}
	b.log.Info("volume closed", "volume", s.name)
	return s.volume.Close()
}

// breakOff ends the requests under way by closing their volumes, whose users still release them.
// Without it they would end with the client's deadlines, for which the NBD server waits.
func (b *backend) breakOff() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.opened {
		select {
		case <-s.ready:
			if s.volume != nil {
				go func() { _ = s.volume.Close() }()
			}
		default: // nobody has sent requests to it
		}
	}
}

// resolve gives the empty name a meaning where there is only one volume.
func (b *backend) resolve(name string) (string, error) {
	if name != "" {
		return name, nil
	}
	all, err := b.List()
	switch {
	case err != nil:
		return "", err
	case len(all) != 1:
		return "", fmt.Errorf("%w: the empty name stands for the only volume, and there are %d",
			nbd.ErrUnknownExport, len(all))
	}
	return all[0].Name, nil
}

// find asks the control plane for the volume of a name.
func (b *backend) find(name string) (*ashlar.Volume, error) {
	name, err := b.resolve(name)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(b.ctx, openTimeout)
	defer cancel()
	r, err := b.dir.GetVolume(ctx, &ashlar.GetVolumeRequest{Name: name, WithoutSegments: true})
	if err != nil {
		return nil, unknown(name, err)
	}
	return r.GetVolume(), nil
}

// Describe implements nbd.Describer: it attaches nothing, and so fences nobody.
func (b *backend) Describe(name string) (nbd.ExportInfo, error) {
	vol, err := b.find(name)
	if err != nil {
		return nbd.ExportInfo{}, err
	}
	return describe(vol.GetName(), int64(vol.GetSizeBytes()), b.readOnly), nil
}

// List implements nbd.Backend.
func (b *backend) List() ([]nbd.ExportInfo, error) {
	ctx, cancel := context.WithTimeout(b.ctx, openTimeout)
	defer cancel()
	volumes, err := admin.Volumes(ctx, b.dir, &ashlar.ListVolumesRequest{Recursive: true})
	if err != nil {
		return nil, fmt.Errorf("gateway: list volumes: %w", err)
	}
	var list []nbd.ExportInfo
	for _, v := range volumes {
		list = append(list, describe(v.GetName(), int64(v.GetSizeBytes()), b.readOnly))
	}
	return list, nil
}

// unknown tells the NBD server about names that stand for nothing; other errors stay theirs.
func unknown(name string, err error) error {
	if errors.Is(err, admin.ErrNotFound) || errors.Is(err, admin.ErrInvalid) {
		return fmt.Errorf("%w: no volume %.80q: %w", nbd.ErrUnknownExport, name, err)
	}
	return err
}
