// Package etcdtest runs real etcd servers for tests: processes on loopback ports with directories
// of their own, which a test can kill, stop and start again, and a way to them that it can cut.
//
// A machine without etcd fails the test; the message names the package to install. The processes
// end with the test, and with the test's process when that is killed.
//
//	c := etcdtest.Start(t, etcdtest.Options{Members: 3})
//	kv, err := meta.OpenEtcd(ctx, meta.EtcdConfig{Endpoints: c.Endpoints()})
//	c.Members[0].Kill()
package etcdtest
