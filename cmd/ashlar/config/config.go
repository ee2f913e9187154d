package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"regexp"
	"sort"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/ashlar-storage/ashlar/rpc/transport"
)

// ErrInvalid marks every error about what a file or a flag says.
var ErrInvalid = errors.New("config: invalid")

// File is what Load fills: one daemon's settings that can check themselves.
type File interface {
	// Check returns an error that wraps ErrInvalid and names the key and the fix.
	Check() error
}

// Log is the part that every daemon has.
type Log struct {
	Level  string `yaml:"level"`  // debug | info | warn | error
	Format string `yaml:"format"` // text | json
}

// Admin is the listener for an operator's tools.
type Admin struct {
	Addr   string `yaml:"admin"`        // metrics, profiles, traces: host:port; empty: off
	Cert   string `yaml:"admin_cert"`   // PEM file; with it and the key it speaks TLS
	Key    string `yaml:"admin_key"`    // PEM file
	Tokens string `yaml:"admin_tokens"` // file that says whose token has which role; empty: none
}

// Transport is how the native protocol travels.
type Transport struct {
	Transport string `yaml:"transport"`     // auto | rdma | tcp
	Card      Card   `yaml:"rdma"`          // which card is used
	Key       string `yaml:"transport_key"` // file with the key that both ends of RDMA must have
	ZeroCopy  string `yaml:"tcp_zerocopy"`  // off | auto | bytes of payload from which it is used
}

// Card narrows which RDMA card is used.
type Card struct {
	Device   string `yaml:"device"`    // empty: any
	Port     int    `yaml:"port"`      // 0: any
	GIDIndex int    `yaml:"gid_index"` // of the port's table of addresses; -1: any
	MTU      int    `yaml:"mtu"`       // that connections must have: 256 to 4096; 0: any
}

// Transports of the native protocol.
const (
	TransportAuto = "auto" // RDMA where both ends have it, else TCP
	TransportRDMA = "rdma"
	TransportTCP  = "tcp"
)

func defaultTransport() Transport {
	return Transport{Transport: TransportAuto, Card: Card{GIDIndex: -1}, ZeroCopy: "off"}
}

func (t *Transport) check() error {
	if t.Card.GIDIndex < -1 || t.Card.Port < 0 {
		return invalid("rdma", fmt.Sprintf("port %d and gid_index %d", t.Card.Port,
			t.Card.GIDIndex), "use numbers as `ibv_devinfo -v` shows them; port 0 and gid_index "+
			"-1 stand for any")
	}
	switch t.Card.MTU {
	case 0, 256, 512, 1024, 2048, 4096:
	default:
		return invalid("rdma.mtu", fmt.Sprint(t.Card.MTU), "use 256, 512, 1024, 2048, 4096, or 0")
	}
	if _, err := transport.ParseZeroCopy(t.ZeroCopy); err != nil {
		return invalid("tcp_zerocopy", fmt.Sprintf("%q", t.ZeroCopy),
			"use off, auto, or a number of bytes above 0")
	}
	return checkOneOf("transport", t.Transport, TransportAuto, TransportRDMA, TransportTCP)
}

// Node configures `ashlar node run`.
type Node struct {
	Name    string   `yaml:"name"`    // unique in the cluster; the node keeps its id by it
	Zone    string   `yaml:"zone"`    // replicas of one copyset are on distinct zones
	Listen  string   `yaml:"listen"`  // native protocol, host:port
	Control string   `yaml:"control"` // control plane, host:port; several with commas
	Stores  []string `yaml:"stores"`  // one for each disk: a directory or a device

	Memory     Size `yaml:"memory"`      // buffers for payloads, shared by the stores
	LogLimit   Size `yaml:"log_limit"`   // of each store's log; 0: the data plane's default
	StoreLimit Size `yaml:"store_limit"` // of each store's chunk files; 0: the disk's space
	StoreHigh  Mark `yaml:"store_high"`  // at which a store is said to fill up; 0: never
	StoreFull  Mark `yaml:"store_full"`  // at which new chunks are refused; 0: when nothing is left
	// WriteOnceFrom is the size from which on writes in order bypass the log; 0: none do.
	WriteOnceFrom Size `yaml:"write_once_from"`
	// StallAfter is how long a read or a durable write may take before the store gives its
	// leaderships away.
	StallAfter Duration  `yaml:"stall_after"`
	ScrubRate  Size      `yaml:"scrub_rate"` // scrubbed in a second; 0: none
	FillRate   Size      `yaml:"fill_rate"`  // given to replicas beside clients; 0: no limit
	ReadMode   string    `yaml:"read_mode"`  // lease | readindex
	NoURing    bool      `yaml:"no_uring"`   // do without io_uring even where the kernel has it
	Transport  Transport `yaml:",inline"`
	// LocalSocket serves clients of this machine over a unix socket too.
	LocalSocket bool  `yaml:"local_socket"`
	Admin       Admin `yaml:",inline"`
	// AllowVolatileCache starts although a power cut would take what a store promised.
	AllowVolatileCache bool `yaml:"allow_volatile_cache"`
	Log                Log  `yaml:"log"`
}

// Control configures `ashlar control run`.
type Control struct {
	Name   string `yaml:"name"`
	Listen string `yaml:"listen"` // all services, host:port
	Data   string `yaml:"data"`   // directory of the metadata, unless etcd has endpoints
	Etcd   Etcd   `yaml:"etcd"`   // where several control planes have their metadata
	// Advertise is where others reach this one, host:port; empty: at listen.
	Advertise string `yaml:"advertise"`

	Replicas int `yaml:"replicas"` // copies of every block
	Copysets int `yaml:"copysets"` // raft groups made once min_nodes are up; 0: two a store
	MinNodes int `yaml:"min_nodes"`
	// LostAfter is how long a store may be away before its replicas are made anew on others.
	LostAfter Duration `yaml:"lost_after"`
	// TrashKeep is how long deleted volumes can be restored; 0: not at all.
	TrashKeep Duration `yaml:"trash_keep"`
	Admin     Admin    `yaml:",inline"`
	Log       Log      `yaml:"log"`
}

// Etcd is where metadata lie that several control planes share, of which one is active.
type Etcd struct {
	Endpoints    []string `yaml:"endpoints"` // of the members; empty: the metadata lie in data
	Prefix       string   `yaml:"prefix"`    // of all keys, one for each cluster
	CAFile       string   `yaml:"ca_file"`   // who signed the servers' certificates, PEM
	CertFile     string   `yaml:"cert_file"` // of this client, PEM; with key_file
	KeyFile      string   `yaml:"key_file"`
	Username     string   `yaml:"username"`
	PasswordFile string   `yaml:"password_file"` // its first line is the password
	Lease        Duration `yaml:"lease"`         // of the active one, whole seconds
}

// Gateway configures `ashlar gateway run`.
type Gateway struct {
	Name      string    `yaml:"name"`
	Control   string    `yaml:"control"`   // control plane, host:port; several with commas
	Listen    string    `yaml:"listen"`    // NBD, host:port; empty: no TCP
	Socket    string    `yaml:"socket"`    // NBD, path of a unix socket; empty: none
	Timeout   Duration  `yaml:"timeout"`   // how long one operation is retried before it fails
	ReadOnly  bool      `yaml:"read_only"` // every export refuses writes
	Admin     Admin     `yaml:",inline"`
	Transport Transport `yaml:",inline"`
	Log       Log       `yaml:"log"`
}

// Defaults of the listening addresses.
const (
	DefaultControlAddr = "127.0.0.1:7400"
	DefaultNodeAddr    = "127.0.0.1:7401"
	DefaultNBDAddr     = "127.0.0.1:10809"
)

func defaultLog() Log { return Log{Level: "info", Format: "text"} }

// How a leader knows that it still leads when it answers a read.
const (
	ReadLease = "lease"     // a majority promised lately to elect nobody else; trusts clocks
	ReadIndex = "readindex" // it asks a majority; a round trip more
)

// DefaultNode returns the settings of a node that has a name and a place on disk.
func DefaultNode() Node {
	return Node{Name: "n1", Zone: "z1", Listen: DefaultNodeAddr, Control: DefaultControlAddr,
		Stores: []string{"/var/lib/ashlar/store0"}, Memory: 512 << 20,
		StoreHigh: Mark{Percent: 85}, StoreFull: Mark{Percent: 95},
		StallAfter: Duration(time.Second), ScrubRate: 8 << 20, FillRate: 16 << 20,
		ReadMode: ReadLease, Transport: defaultTransport(), Log: defaultLog()}
}

// DefaultControl returns the settings of a control plane for three replicas.
func DefaultControl() Control {
	return Control{Name: "control", Listen: DefaultControlAddr, Data: "/var/lib/ashlar/control",
		Etcd:     Etcd{Endpoints: []string{}, Prefix: "/ashlar/", Lease: Duration(2 * time.Second)},
		Replicas: 3, MinNodes: 3, LostAfter: Duration(15 * time.Minute),
		TrashKeep: Duration(24 * time.Hour), Log: defaultLog()}
}

// DefaultGateway returns the settings of a gateway on the port that NBD is assigned.
func DefaultGateway() Gateway {
	return Gateway{Name: "gw1", Control: DefaultControlAddr, Listen: DefaultNBDAddr,
		Timeout: Duration(30e9), Transport: defaultTransport(), Log: defaultLog()}
}

// Check implements File.
func (n *Node) Check() error {
	if len(n.Stores) == 0 {
		return invalid("stores", "empty", "name a directory or a device for each disk")
	}
	seen := map[string]bool{}
	for _, s := range n.Stores {
		if s == "" || seen[s] {
			return invalid("stores", fmt.Sprintf("%q is empty or named twice", s),
				"name a directory or a device for each disk")
		}
		seen[s] = true
	}
	if n.Memory < nodeMemoryMin {
		return invalid("memory", n.Memory.String(), "use "+nodeMemoryMin.String()+" or more")
	}
	if n.LogLimit != 0 && n.LogLimit < logLimitMin {
		return invalid("log_limit", n.LogLimit.String(),
			"use "+logLimitMin.String()+" or more, or 0")
	}
	if err := n.checkMarks(); err != nil {
		return err
	}
	if n.StallAfter < stallAfterMin {
		return invalid("stall_after", time.Duration(n.StallAfter).String(),
			"use "+time.Duration(stallAfterMin).String()+" or more: busy disks take that")
	}
	return first(checkName("name", n.Name), checkName("zone", n.Zone),
		checkAddr("listen", n.Listen), checkAddrs("control", n.Control), n.Admin.check(),
		checkOneOf("read_mode", n.ReadMode, ReadLease, ReadIndex), n.Transport.check(),
		n.Log.check())
}

// checkMarks compares marks that are of one kind.
func (n *Node) checkMarks() error {
	high, full := n.StoreHigh, n.StoreFull
	shares := high.Percent > 0 && full.Percent > 0
	sizes := high.Left > 0 && full.Left > 0
	if shares && high.Percent > full.Percent || sizes && high.Left < full.Left {
		return invalid("store_high", high.String()+", and store_full "+full.String(),
			"have a store fill up before it is full")
	}
	return nil
}

// Check implements File.
func (c *Control) Check() error {
	if c.Data == "" && len(c.Etcd.Endpoints) == 0 {
		return invalid("data", "empty, and so is etcd.endpoints",
			"name the directory for the metadata")
	}
	if c.LostAfter < lostAfterMin {
		return invalid("lost_after", time.Duration(c.LostAfter).String(),
			"use "+time.Duration(lostAfterMin).String()+" or more: restarts of nodes take that")
	}
	if c.Advertise != "" {
		if err := checkAddr("advertise", c.Advertise); err != nil {
			return err
		}
	}
	return first(checkName("name", c.Name), checkAddr("listen", c.Listen), c.Etcd.check(),
		checkRange("replicas", c.Replicas, 1, 7),
		checkRange("min_nodes", c.MinNodes, c.Replicas, 1<<16),
		checkRange("copysets", c.Copysets, 0, 1<<16), c.Admin.check(), c.Log.check())
}

func (e *Etcd) check() error {
	for _, endpoint := range e.Endpoints {
		addr := endpoint
		for _, scheme := range []string{"http://", "https://"} {
			addr = strings.TrimPrefix(addr, scheme)
		}
		if err := checkAddr("etcd.endpoints", addr); err != nil {
			return err
		}
	}
	switch {
	case (e.CertFile == "") != (e.KeyFile == ""):
		return invalid("etcd.cert_file", "one of cert_file and key_file is empty",
			"give both or none")
	case (e.Username == "") != (e.PasswordFile == ""):
		return invalid("etcd.username", "one of username and password_file is empty",
			"give both or none")
	case !strings.HasPrefix(e.Prefix, "/"):
		return invalid("etcd.prefix", fmt.Sprintf("%.80q", e.Prefix), "write it as /ashlar/")
	case e.Lease < Duration(time.Second) || e.Lease%Duration(time.Second) != 0:
		return invalid("etcd.lease", time.Duration(e.Lease).String(),
			"use whole seconds, 2s or more")
	}
	return nil
}

// Check implements File.
func (g *Gateway) Check() error {
	if g.Listen == "" && g.Socket == "" {
		return invalid("listen", "empty, and so is socket", "give at least one of them")
	}
	if g.Listen != "" {
		if err := checkAddr("listen", g.Listen); err != nil {
			return err
		}
	}
	if g.Timeout == 0 {
		return invalid("timeout", "zero", "write a duration, such as 30s")
	}
	return first(checkName("name", g.Name), checkAddrs("control", g.Control), g.Admin.check(),
		g.Transport.check(),
		g.Log.check())
}

func (l Log) check() error {
	return first(checkOneOf("log.level", l.Level, "debug", "info", "warn", "error"),
		checkOneOf("log.format", l.Format, "text", "json"))
}

func invalid(key, what, fix string) error {
	return fmt.Errorf("%w: %s: %s; %s", ErrInvalid, key, what, fix)
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

var nameRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

func checkName(key, v string) error {
	if !nameRule.MatchString(v) {
		return invalid(key, fmt.Sprintf("%.80q", v),
			"use 1 to 63 letters, digits, dots, dashes and underscores, a letter or digit first")
	}
	return nil
}

func checkAddr(key, v string) error {
	host, port, err := net.SplitHostPort(v)
	if err == nil && host != "" && port != "" {
		if _, err = net.LookupPort("tcp", port); err == nil {
			return nil
		}
	}
	return invalid(key, fmt.Sprintf("%.80q is not an address", v), "write it as 127.0.0.1:7400")
}

// checkAddrs accepts several with commas between them.
func checkAddrs(key, v string) error {
	for _, addr := range strings.Split(v, ",") {
		if err := checkAddr(key, strings.TrimSpace(addr)); err != nil {
			return err
		}
	}
	return nil
}

// check accepts no address too: then there is no admin listener.
func (a Admin) check() error {
	if (a.Cert == "") != (a.Key == "") {
		return invalid("admin_cert", "without admin_key, or admin_key without it",
			"name both files, or neither")
	}
	if a.Addr == "" {
		return nil
	}
	return checkAddr("admin", a.Addr)
}

func checkRange(key string, v, low, high int) error {
	if v < low || v > high {
		return invalid(key, fmt.Sprintf("%d", v), fmt.Sprintf("use %d to %d", low, high))
	}
	return nil
}

func checkOneOf(key, v string, allowed ...string) error {
	for _, a := range allowed {
		if v == a {
			return nil
		}
	}
	return invalid(key, fmt.Sprintf("%.40q", v), "use one of "+strings.Join(allowed, ", "))
}

// Load reads the file at path over the defaults that f holds, strictly, and checks the result.
func Load(path string, f File) error {
	in, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	defer in.Close()
	text, err := io.ReadAll(io.LimitReader(in, FileBytesMax+1))
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	if err := Decode(text, f); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// Decode reads text over the defaults that f holds, strictly, and checks the result. The error
// wraps ErrInvalid.
func Decode(text []byte, f File) error {
	if err := Strict(text, f); err != nil {
		return err
	}
	return f.Check()
}

// Strict reads text into v and refuses what v does not have. The error wraps ErrInvalid.
func Strict(text []byte, v any) error {
	if len(text) > FileBytesMax {
		return fmt.Errorf("%w: larger than %s", ErrInvalid, Size(FileBytesMax))
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	switch err := dec.Decode(v); {
	case errors.Is(err, io.EOF): // an empty file: all defaults
		return nil
	case err != nil:
		return explain(err, v)
	}
	var more yaml.Node
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: a second document follows the first (---): keep one", ErrInvalid)
	}
	return nil
}

var goType = regexp.MustCompile(`(config|datadir|struct)[.{].*$`)

var unknownField = regexp.MustCompile(`^line (\d+): field (.+) not found in type (\S+)$`)

// explain turns the decoder's words into the reader's: keys instead of Go types.
func explain(err error, v any) error {
	var typed *yaml.TypeError
	if !errors.As(err, &typed) {
		if errors.Is(err, ErrInvalid) {
			return err
		}
		return fmt.Errorf("%w: %s", ErrInvalid, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	lines := make([]string, 0, len(typed.Errors))
	for _, e := range typed.Errors {
		if m := unknownField.FindStringSubmatch(e); m != nil {
			e = fmt.Sprintf("line %s: unknown key %q; known keys here: %s", m[1], m[2],
				strings.Join(knownKeys(reflect.TypeOf(v), m[3]), ", "))
		}
		lines = append(lines, goType.ReplaceAllString(e, "what belongs there"))
	}
	return fmt.Errorf("%w: %s", ErrInvalid, strings.Join(lines, "; "))
}

// knownKeys lists the YAML keys of the struct type that is named, looked for inside t.
func knownKeys(t reflect.Type, name string) []string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	var keys, inner []string
	for i := range t.NumField() {
		field := t.Field(i)
		if field.Tag.Get("yaml") == ",inline" {
			keys = append(keys, knownKeys(field.Type, field.Type.String())...)
		}
		if key, _, _ := strings.Cut(field.Tag.Get("yaml"), ","); key != "" {
			keys = append(keys, key)
		}
		inner = append(inner, knownKeys(field.Type, name)...)
	}
	if t.String() == name {
		sort.Strings(keys)
		return keys
	}
	return inner
}

// Render writes v as the YAML that Load reads.
func Render(v any) ([]byte, error) {
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	return out.Bytes(), nil
}
