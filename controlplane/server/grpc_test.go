package server

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jhump/protoreflect/desc/protoparse"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// stock is a client that has nothing of this project but the interface definition: grpc-go, and
// messages of Google's library made from the parsed file.
type stock struct {
	t    *testing.T
	conn *grpc.ClientConn
	file protoreflect.FileDescriptor
}

func newStock(t *testing.T, addr string, opts ...grpc.DialOption) *stock {
	t.Helper()
	parsed, err := protoparse.Parser{ImportPaths: []string{"../../rpc/admin/idl"}}.ParseFiles(
		"ashlar.proto")
	if err != nil {
		t.Fatal(err)
	}
	file, err := protodesc.NewFile(parsed[0].AsFileDescriptorProto(), nil)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(addr, append(opts,
		grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &stock{t: t, conn: conn, file: file}
}

// call sends a request that is written as JSON, and returns the answer as JSON.
func (s *stock) call(service, method, request string) (answer string, err error) {
	s.t.Helper()
	m := s.file.Services().ByName(protoreflect.Name(service)).Methods().ByName(
		protoreflect.Name(method))
	in, out := dynamicpb.NewMessage(m.Input()), dynamicpb.NewMessage(m.Output())
	if err := protojson.Unmarshal([]byte(request), in); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	name := "/" + string(s.file.Package()) + "." + service + "/" + method
	if err := s.conn.Invoke(ctx, name, in, out); err != nil {
		return "", err
	}
	text, err := protojson.Marshal(out)
	return strings.ReplaceAll(string(text), " ", ""), err
}

// ok checks that the answer has each of the parts.
func (s *stock) ok(method, request string, parts ...string) {
	s.t.Helper()
	got, err := s.call("AdminService", method, request)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, request, err)
	}
	for _, part := range parts {
		if !strings.Contains(got, part) {
			s.t.Errorf("%s %s: %s lacks %s", method, request, got, part)
		}
	}
}

func TestStockClientsOfGRPCAreServedOnTheSamePort(t *testing.T) {
	w := newWorld(t, 3, nil)
	s := newStock(t, w.srv.Addr().String())
	s.ok("CreateDirectory", `{"path": "prod"}`, `"path":"prod"`)
	s.ok("CreateVolume", `{"name": "prod/v", "size_bytes": 1073741824}`, `"name":"prod/v"`,
		`"sizeBytes":"1073741824"`, `"state":"ok"`)
	s.ok("RenameVolume", `{"name": "prod/v", "new_name": "prod/w"}`, `"name":"prod/w"`)
	s.ok("ResizeVolume", `{"name": "prod/w", "size_bytes": "3221225472"}`,
		`"sizeBytes":"3221225472"`)
	s.ok("GetVolume", `{"name": "prod/w"}`, `"index":"2"`)
	s.ok("ListVolumes", `{"directory": "prod"}`, `"prod/w"`)
	s.ok("DeleteVolume", `{"name": "prod/w"}`, `"state":"trashed"`)
	s.ok("ListTrash", `{}`, `"reservedBytes":"9663676416"`)
	s.ok("RestoreVolume", `{"volume_id": 3}`, `"state":"ok"`)
	s.ok("ListEvents", `{}`, `"volume-resized"`, `"volume-restored"`)
	s.ok("ListNodes", `{}`, `"n1"`, `"n2"`, `"n3"`)
	s.ok("Explain", `{"object": "node", "id": "n1"}`, `"up"`)
	s.ok("ClusterStatus", `{}`, w.srv.ClusterID(), `"copysets":"6"`)
	open, err := s.call("ClientService", "OpenVolume", `{"name": "prod/w", "client": "stock"}`)
	if err != nil || !strings.Contains(open, `"sessionId":"1"`) {
		t.Errorf("%s, %v", open, err)
	}
	if got := w.tree(); got != "prod/ prod/w:3" { // the other way in sees the same
		t.Error(got)
	}
}

func TestErrorsReachStockClientsAsCodesOfGRPC(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.create("v", 1<<20)
	w.open("v", false)
	s := newStock(t, w.srv.Addr().String())
	for _, c := range []struct {
		method, request, text string
		code                  codes.Code
	}{
		{"GetVolume", `{"name": "none"}`, "none", codes.NotFound},
		{"CreateVolume", `{"name": "v", "size_bytes": 1}`, "already exists", codes.AlreadyExists},
		{"CreateVolume", `{"name": "/", "size_bytes": 1}`, "volume name", codes.InvalidArgument},
		{"CreateVolume", `{"name": "w", "size_bytes": "1099511627776"}`, "300 GiB",
			codes.ResourceExhausted},
		{"DeleteVolume", `{"name": "v"}`, "is open by", codes.Aborted},
	} {
		_, err := s.call("AdminService", c.method, c.request)
		got := status.Convert(err)
		if got.Code() != c.code || !strings.Contains(got.Message(), c.text) {
			t.Errorf("%s %s: %v %q, want %v", c.method, c.request, got.Code(), got.Message(),
				c.code)
		}
	}
	_, err := s.call("NodeService", "RegisterNode", `{"name": "x", "addr": "h:1",
		"cluster_id": "another", "stores": [{"uuid": "00000000-aa"}]}`)
	if code := status.Code(err); code != codes.FailedPrecondition {
		t.Errorf("a node of another cluster: %v", err)
	}
	err = s.conn.Invoke(ctx, "/ashlar.v1.AdminService/Nothing", dynamicpb.NewMessage(
		s.file.Messages().ByName("ListNodesRequest")), dynamicpb.NewMessage(
		s.file.Messages().ByName("ListNodesResponse")))
	if code := status.Code(err); code != codes.Unimplemented {
		t.Errorf("an unknown method: %v", err)
	}
	// The project's own client is told the same classes.
	_, err = w.Admin.GetVolume(ctx, &v1.GetVolumeRequest{Name: "none"})
	has(t, err, admin.ErrNotFound, "none")
}

func TestStockClientsMayCompressWithinBounds(t *testing.T) {
	w := newWorld(t, 3, nil)
	s := newStock(t, w.srv.Addr().String(),
		grpc.WithDefaultCallOptions(grpc.UseCompressor(gzip.Name)))
	s.ok("ClusterStatus", `{}`, w.srv.ClusterID())
	bomb := `{"name": "` + strings.Repeat("x", admin.MaxFrameBytes) + `"}`
	if _, err := s.call("AdminService", "GetVolume", bomb); err == nil {
		t.Error("a message that unpacks to more than MaxFrameBytes was read")
	} else if !strings.Contains(err.Error(), "compressed message") {
		t.Error(err)
	}
	s.ok("ClusterStatus", `{}`, w.srv.ClusterID())
}
