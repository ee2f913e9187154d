package meta

import (
	"crypto/tls"
	"fmt"

	"go.etcd.io/etcd/client/pkg/v3/transport"
)

// EtcdTLS makes the TLS settings of EtcdConfig from PEM files: the authority that signed the
// servers' certificates, and the certificate and key of this client where etcd asks for one.
// Empty names are left out; without any it returns nil. Certificate and key are read again for
// each connection, so that new ones need no restart.
func EtcdTLS(caFile, certFile, keyFile string) (*tls.Config, error) {
	if caFile == "" && certFile == "" && keyFile == "" {
		return nil, nil
	}
	if (certFile == "") != (keyFile == "") {
		return nil, fmt.Errorf("meta: certificate %q and key %q for etcd: give both or none",
			certFile, keyFile)
	}
	info := transport.TLSInfo{TrustedCAFile: caFile, CertFile: certFile, KeyFile: keyFile}
	cfg, err := info.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("meta: TLS for etcd: %w", err)
	}
	return cfg, nil
}
