package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestDefaultsRenderToWhatLoadReadsBack(t *testing.T) {
	node, control, gateway := DefaultNode(), DefaultControl(), DefaultGateway()
	for _, c := range []struct{ want, got File }{
		{&node, &Node{}}, {&control, &Control{}}, {&gateway, &Gateway{}},
	} {
		text, err := Render(c.want)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Load(path, c.got); err != nil {
			t.Fatalf("%T: %v\n%s", c.want, err, text)
		}
		if !reflect.DeepEqual(c.want, c.got) {
			t.Errorf("%T came back different:\n%+v\n%+v", c.want, c.want, c.got)
		}
	}
}

func TestEachMistakeIsNamedWithItsLineAndFix(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"unknown key", "name: a\nlissten: 1.2.3.4:5\n",
			[]string{"line 2", `unknown key "lissten"`, "listen"}},
		{"unknown nested key", "log:\n  levl: info\n",
			[]string{"line 2", `unknown key "levl"`, "format, level"}},
		{"key twice", "name: a\nname: b\n", []string{"line 2", "name"}},
		{"second document", "name: a\n---\nname: b\n", []string{"second document"}},
		{"wrong kind", "stores: {a: b}\n", []string{"line 1"}},
		{"no stores", "stores: []\n", []string{"stores", "a device for each disk"}},
		{"store twice", "stores: [a, a]\n", []string{"stores", "twice"}},
		{"bad address", "listen: nowhere\n", []string{"listen", "nowhere", "127.0.0.1:7400"}},
		{"address without host", "listen: ':99'\n", []string{"listen"}},
		{"bad name", "name: 'a b'\n", []string{"name", "letters"}},
		{"bad level", "log: {level: loud}\n", []string{"log.level", "loud", "debug"}},
		{"bad read mode", "read_mode: fast\n", []string{"read_mode", "fast", "lease, readindex"}},
		{"not YAML", "name: a\nzone: b\nlog: {\n", []string{"line 3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			node := DefaultNode()
			err := Decode([]byte(c.text), &node)
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("error = %v", err)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
		})
	}
}

func TestControlAndGatewayCheckTheirRanges(t *testing.T) {
	for _, c := range []struct {
		file File
		text string
		want string
	}{
		{ptr(DefaultControl()), "replicas: 0\n", "replicas"},
		{ptr(DefaultControl()), "min_nodes: 2\n", "min_nodes"},
		{ptr(DefaultControl()), "lost_after: 10ms\n", "lost_after"},
		{ptr(DefaultControl()), "copysets: -1\n", "copysets"},
		{ptr(DefaultControl()), "data: ''\n", "data"},
		{ptr(DefaultGateway()), "listen: ''\n", "socket"},
		{ptr(DefaultGateway()), "timeout: 5\n", "line 1"},
		{ptr(DefaultGateway()), "timeout: 0s\n", "timeout"},
	} {
		err := Decode([]byte(c.text), c.file)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error = %v, want one that names %s", c.text, err, c.want)
		}
	}
}

func ptr[T any](v T) *T { return &v }

func TestEmptyFileKeepsTheDefaults(t *testing.T) {
	node := DefaultNode()
	if err := Decode(nil, &node); err != nil || !reflect.DeepEqual(node, DefaultNode()) {
		t.Error(err, node)
	}
}

func TestOversizedFileIsRefusedUnparsed(t *testing.T) {
	node := DefaultNode()
	if err := Decode(make([]byte, FileBytesMax+1), &node); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}

func TestSizesAreReadInBothFamiliesOfUnits(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "4096": 4096, "4KiB": 4096, "4k": 4000, "4 GiB": 4 << 30, "1.5GiB": 3 << 29,
		"10GB": 1e10, "1TiB": 1 << 40, "4gib": 4 << 30, "16MiB": 16 << 20,
	} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%q = %d, %v, want %d", text, got, err, want)
		}
	}
}

func TestBadSizesAreRefusedWithAnExample(t *testing.T) {
	for _, text := range []string{"", "-1", "-4GiB", "4GiBB", "GiB", "4 4", "1e400", "NaN", "Inf",
		"0x10", "99999999EiB", "8EiB", strings.Repeat("9", 40), "4\x00GiB", "½GiB"} {
		_, err := ParseSize(text)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "4GiB") {
			t.Errorf("%q: error = %v", text, err)
		}
	}
}

func TestSizeTextIsExact(t *testing.T) {
	for size, want := range map[Size]string{
		0: "0", 1: "1", 4096: "4KiB", 3 << 29: "1536MiB", 4 << 30: "4GiB", 1000: "1000",
	} {
		if got := size.String(); got != want {
			t.Errorf("%d = %q, want %q", int64(size), got, want)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"4GiB", "1", "1.5MB", "", "9e9", "18446744073709551615", "-1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		size, err := ParseSize(text)
		if err != nil {
			return
		}
		if again, err := ParseSize(size.String()); err != nil || again != size {
			t.Errorf("%q = %d, written %q, read %d, %v", text, size, size, again, err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("name: a\nlog: {level: info}\nstores: [x]\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("---\n---\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		node := DefaultNode()
		if err := Decode(text, &node); err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("error outside ErrInvalid: %v", err)
		}
	})
}

func TestTransportsAreChecked(t *testing.T) {
	for text, want := range map[string]string{
		"transport: rdma\nrdma: {device: mlx5_0, gid_index: 3, mtu: 4096}\n": "",
		"transport: pigeon\n":     "transport",
		"tcp_zerocopy: 64k\n":     "tcp_zerocopy",
		"rdma: {mtu: 1500}\n":     "rdma.mtu",
		"rdma: {gid_index: -2}\n": "gid_index",
		"rdma: {cable: green}\n":  "known keys here: device, gid_index, mtu, port",
		"transport: tcp\n":        "",
		"local_socket: true\n":    "",
		"transport_key: /x/key\n": "",
	} {
		n := DefaultNode()
		err := Decode([]byte(text), &n)
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
