package meta

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/ashlar-storage/ashlar/controlplane/meta/etcdtest"
)

// issue writes NAME.pem and NAME-key.pem, signed by an authority, or by itself when parent is nil.
func issue(t *testing.T, dir, name string, parent *x509.Certificate, by *ecdsa.PrivateKey) (
	*x509.Certificate, *ecdsa.PrivateKey,
) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true,
		IsCA: parent == nil}
	if parent == nil {
		parent, by = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, filepath.Join(dir, name+".pem"), &pem.Block{Type: "CERTIFICATE", Bytes: der})
	writePEM(t, filepath.Join(dir, name+"-key.pem"), &pem.Block{Type: "EC PRIVATE KEY", Bytes: raw})
	return c, key
}

func writePEM(t *testing.T, file string, block *pem.Block) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestEtcdIsReachedWithTLSAndPassword(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	ca, caKey := issue(t, dir, "ca", nil, nil)
	issue(t, dir, "server", ca, caKey)
	issue(t, dir, "client", ca, caKey)
	c := etcdtest.Start(t, etcdtest.Options{Scheme: "https", Args: []string{
		"--cert-file", file("server.pem"), "--key-file", file("server-key.pem"),
		"--trusted-ca-file", file("ca.pem"), "--client-cert-auth"}})
	tlsConfig, err := EtcdTLS(file("ca.pem"), file("client.pem"), file("client-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	cfg := EtcdConfig{Endpoints: c.Endpoints(), TLS: tlsConfig, Prefix: "/ours/"}
	root := openEtcd(t, EtcdConfig{Endpoints: cfg.Endpoints, TLS: tlsConfig, Prefix: "/admins"})
	askForPasswords(t, root.cli)

	if _, err := OpenEtcd(context.Background(), cfg); !errors.Is(err, ErrUnavailable) ||
		!strings.Contains(err.Error(), "password") {
		t.Errorf("without a password: %v", err)
	}
	cfg.Username, cfg.Password = "ashlar", "wrong"
	if _, err := OpenEtcd(context.Background(), cfg); !errors.Is(err, ErrUnavailable) ||
		!strings.Contains(err.Error(), "password") {
		t.Errorf("with a wrong password: %v", err)
	}
	cfg.Password = "secret"
	kv := openEtcd(t, cfg)
	l := mustLead(t, kv, "a:1")
	err = l.Update(context.Background(), func(tx Tx) error { return tx.Put([]byte("a"), nil) })
	if err != nil || len(dump(t, kv)) != 1 {
		t.Error(err)
	}
	cfg.Prefix = "/theirs/"
	if _, err := OpenEtcd(context.Background(), cfg); !errors.Is(err, ErrUnavailable) ||
		!strings.Contains(err.Error(), "role") {
		t.Errorf("a prefix of others: %v", err)
	}
}

// mustLead leads for longer than a lease that nobody renews is held. A machine that is busy
// elsewhere may keep a process from renewing it: another try is given.
func mustLead(t *testing.T, kv KV, addr string) Leadership {
	t.Helper()
	for range 3 {
		l, err := kv.Campaign(context.Background(), "active", addr)
		if err != nil {
			t.Fatal(err)
		}
		if time.Sleep(DefaultLease * 3 / 2); l.Held() {
			return l
		}
	}
	t.Fatal("the leadership was not renewed")
	return nil
}

// askForPasswords makes a user that may use /ours/, and nobody else.
func askForPasswords(t *testing.T, cli *clientv3.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err1 := cli.RoleAdd(ctx, "root")
	_, err2 := cli.UserAdd(ctx, "root", "topsecret")
	_, err3 := cli.UserGrantRole(ctx, "root", "root")
	_, err4 := cli.RoleAdd(ctx, "ashlar")
	_, err5 := cli.RoleGrantPermission(ctx, "ashlar", "/ours/", "/ours0",
		clientv3.PermissionType(clientv3.PermReadWrite))
	_, err6 := cli.UserAdd(ctx, "ashlar", "secret")
	_, err7 := cli.UserGrantRole(ctx, "ashlar", "ashlar")
	_, err8 := cli.AuthEnable(ctx)
	if err := errors.Join(err1, err2, err3, err4, err5, err6, err7, err8); err != nil {
		t.Fatal(err)
	}
}

func TestHalfATLSIdentityIsRefused(t *testing.T) {
	if _, err := EtcdTLS("", "client.pem", ""); err == nil {
		t.Error("a certificate without a key was taken")
	}
	if c, err := EtcdTLS("", "", ""); c != nil || err != nil {
		t.Error(c, err)
	}
	if _, err := EtcdTLS("absent.pem", "", ""); err == nil {
		t.Error("an absent file was taken")
	}
}
