package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/perf/hot"
	"github.com/ashlar-storage/ashlar/rpc/nbd"
)

const workers = 16

func TestClusterKeepsItsDataAndAddressesAcrossAnOrderedStop(t *testing.T) {
	skipShort(t)
	dir := filepath.Join(t.TempDir(), "data")
	c := start(t, dir, "--volume", "vol", "--size", "256MiB")
	if !strings.HasSuffix(c.url, "/vol") {
		t.Errorf("ready line with %q", c.url)
	}
	roles := map[string]int{}
	for _, p := range c.status().Processes {
		roles[p.Role]++
		if p.PID == 0 || p.State != "up" || syscall.Kill(p.PID, 0) != nil {
			t.Errorf("process %+v is listed and does not live", p)
		}
	}
	if roles["control"] != 1 || roles["node"] != 3 || roles["gateway"] != 1 {
		t.Errorf("processes by role: %v", roles)
	}
	l := newLedger(2048)
	stop := make(chan struct{})
	time.AfterFunc(time.Second, func() { close(stop) })
	if err := l.write(c.attach(c.url), workers, stop); err != nil {
		t.Fatal(err)
	}
	_, stderr, status := ashlar("up", "--data", dir)
	if status != 7 || !strings.Contains(stderr, fmt.Sprint(c.cmd.Process.Pid)) {
		t.Errorf("a second `up` ended with %d: %s", status, stderr)
	}
	c.stop()
	for _, p := range c.processesOnDir() {
		if syscall.Kill(p, 0) == nil {
			t.Errorf("process %d outlived the stop", p)
		}
	}

	again := start(t, dir)
	if again.url != c.url {
		t.Errorf("was at %s, is at %s", c.url, again.url)
	}
	l.check(t, again.attach(again.url))
	again.stop()
}

func TestAcknowledgedWritesSurviveKillingEveryProcess(t *testing.T) {
	skipShort(t)
	dir := filepath.Join(t.TempDir(), "data")
	l := newLedger(8192)
	args := []string{"--volume", "vol", "--size", "256MiB"}
	for round := range 3 {
		c := start(t, dir, args...)
		client := c.attach(c.url)
		l.check(t, client)
		killed := make(chan struct{})
		go func() {
			defer close(killed)
			time.Sleep(1500 * time.Millisecond)
			c.killAll()
		}()
		before := l.writes.Load()
		err := l.write(client, workers, nil)
		<-killed
		if err == nil || l.writes.Load() == before {
			t.Fatalf("the load ended with %v after %d writes", err, l.writes.Load()-before)
		}
		t.Logf("round %d: %d writes acknowledged before SIGKILL of everything", round,
			l.writes.Load()-before)
		args = nil
	}
	c := start(t, dir)
	l.check(t, c.attach(c.url))
	c.awaitFull()
	c.stop()
}

func TestProcessesEndWithTheirSupervisorAndTheNextOneTakesOver(t *testing.T) {
	skipShort(t)
	dir := filepath.Join(t.TempDir(), "data")
	first := start(t, dir, "--volume", "vol", "--size", "64MiB")
	l := newLedger(256)
	stop := make(chan struct{})
	time.AfterFunc(200*time.Millisecond, func() { close(stop) })
	if err := l.write(first.attach(first.url), workers, stop); err != nil {
		t.Fatal(err)
	}
	if err := first.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-first.ended
	// At once: the processes of the first still end.
	second := start(t, dir)
	l.check(t, second.attach(second.url))
	if live := len(second.processesOnDir()); live != 5 {
		t.Errorf("%d processes live on the directory, want 5", live)
	}
	second.stop()
}

func TestStoresOfANewerVersionOrAnotherClusterAreRefusedSayingWhy(t *testing.T) {
	skipShort(t)
	dir := filepath.Join(t.TempDir(), "data")
	c := start(t, dir)
	var s struct {
		ID string `json:"cluster_id"`
	}
	c.ask(&s, "cluster", "status")
	c.stop()
	name := filepath.Join(dir, "nodes", "n2", "store0", "STORE")
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	checksum := regexp.MustCompile(`"crc32c": \d+`)
	const other = "00000000-1111-2222-3333-444444444444"
	for _, r := range []struct{ old, new, want string }{
		{`"version": 1`, `"version": 99`, "version 99"},
		{s.ID, other, other},
	} {
		bad := strings.Replace(string(good), r.old, r.new, 1)
		bad = checksum.ReplaceAllString(bad, `"crc32c": 0`) // as of a release that had none
		if err := os.WriteFile(name, []byte(bad), 0o644); err != nil || bad == string(good) {
			t.Fatalf("%s was not found in %s: %v", r.old, good, err)
		}
		_, stderr, status := ashlar("up", "--data", dir)
		if status != 7 || !strings.Contains(stderr, r.want) || !strings.Contains(stderr, "n2") {
			t.Errorf("%s: status %d: %s", r.new, status, stderr)
		}
	}
	if err := os.WriteFile(name, good, 0o644); err != nil {
		t.Fatal(err)
	}
	again := start(t, dir)
	again.awaitFull()
	again.stop()
}

func TestAClusterInMemoryStartsOnlyWhenItIsAllowed(t *testing.T) {
	skipShort(t)
	const shm = "/dev/shm"
	if _, err := os.Stat(shm); err != nil || !forgets(t, shm) {
		t.Skip("needs a memory file system at " + shm)
	}
	parent, err := os.MkdirTemp(shm, "ashlar-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(parent) })
	dir := filepath.Join(parent, "data")
	up := []string{"up", "--data", dir, "--nodes", "1", "--nbd", "127.0.0.1:0"}
	_, stderr, status := ashlar(up...)
	if status != 7 || !strings.Contains(stderr, shm+" (tmpfs)") ||
		!strings.Contains(stderr, "--allow-volatile-cache") {
		t.Fatalf("status %d: %s", status, stderr)
	}
	start(t, dir).stop() // adds the flag
	text, err := os.ReadFile(filepath.Join(dir, "conf", "n1.yaml"))
	if err != nil || !strings.Contains(string(text), "allow_volatile_cache: true") {
		t.Errorf("settings of the node: %v\n%s", err, text)
	}
}

func TestWritesGoOnWhenTheLeaderIsKilled(t *testing.T) {
	skipShort(t)
	c := start(t, filepath.Join(t.TempDir(), "data"), "--volume", "vol", "--size", "256MiB",
		"--restart-delay", "3s")
	client := c.attach(c.url)
	// Over the whole volume, so that every copyset is written to.
	l := newLedger(volumeSize / blockSize)
	stop := make(chan struct{})
	var failed error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		failed = l.write(client, workers, stop)
	}()
	time.Sleep(time.Second)
	quiet := l.longest.Load()
	victim := c.worstLeader()
	before := l.writes.Load()
	if err := syscall.Kill(victim.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second)
	during := l.writes.Load() - before
	time.Sleep(3 * time.Second)
	close(stop)
	<-ended
	if failed != nil {
		t.Fatalf("a write failed: %v", failed)
	}
	if during == 0 {
		t.Error("no write was acknowledged in the 2 s after the kill")
	}
	t.Logf("pause: the longest write took %v (%v before the kill); %d writes in the 2 s after it",
		time.Duration(l.longest.Load()), time.Duration(quiet), during)
	t.Logf("the killed node caught up %v after the load ended", c.awaitFull())
	l.check(t, client)
	client.Close()
	c.stop()
}

func TestFlippedBytesOfOneReplicaAreNeverReturned(t *testing.T) {
	skipShort(t)
	dir := filepath.Join(t.TempDir(), "data")
	c := start(t, dir, "--volume", "vol", "--size", "256MiB")
	client := c.attach(c.url)
	const mib = 128
	image := make([]byte, mib<<20)
	for n := range len(image) / blockSize {
		hot.Stamp(image[n*blockSize:(n+1)*blockSize], uint64(n), 1)
	}
	if _, err := client.WriteAt(image, 0); err != nil {
		t.Fatal(err)
	}
	client.Close()
	c.stop()

	flips := flipStamps(t, dir)
	if flips == 0 {
		t.Fatal("no block of the volume was found in any chunk file")
	}
	c = start(t, dir)
	client = c.attach(c.url)
	back := make([]byte, len(image))
	for pass := range 2 {
		if _, err := client.ReadAt(back, 0); err != nil {
			t.Fatalf("pass %d over %d flipped bytes: %v", pass, flips, err)
		}
		if !bytes.Equal(back, image) {
			t.Fatalf("pass %d returned a flipped byte", pass)
		}
	}
	t.Logf("%d bytes flipped, none returned", flips)
	client.Close()
	c.stop()
}

// flipStamps flips one byte in some of the stamped blocks that lie in the nodes' files, never the
// same block on two nodes, and leaves the logs alone: only what is not in a log is read from its
// chunk file.
func flipStamps(t *testing.T, dir string) (flips int) {
	t.Helper()
	for node := range 3 {
		root := filepath.Join(dir, "nodes", fmt.Sprintf("n%d", node+1))
		err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() && d.Name() == "log" {
				return filepath.SkipDir
			}
			if err != nil || d.IsDir() {
				return err
			}
			n, err := flipFile(path, node)
			flips += n
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return flips
}

func flipFile(path string, node int) (flips int, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	block := make([]byte, blockSize)
	for off := int64(0); ; off += blockSize {
		if _, err := f.ReadAt(block, off); err != nil {
			return flips, nil // the end of the file
		}
		number := uint64(block[0]) | uint64(block[1])<<8 | uint64(block[2])<<16
		if version, err := hot.Read(block, number); err != nil || version != 1 ||
			number%300 != uint64(node)*100 {
			continue
		}
		at := int64(number % blockSize)
		if _, err := f.WriteAt([]byte{block[at] ^ 0x10}, off+at); err != nil {
			return flips, err
		}
		flips++
	}
}

func TestMistakesOfUsersAreAnsweredAndHarmNothing(t *testing.T) {
	skipShort(t)
	c := start(t, filepath.Join(t.TempDir(), "data"), "--volume", "vol", "--size", "64MiB")
	for _, m := range []struct {
		args   string
		status int
		want   string
	}{
		{"volume create vol --size 64MiB", 4, "vol"},
		{"volume create huge --size 60TiB", 5, ""},
		{"volume create bad/../name --size 64MiB", 2, "name"},
		{"volume show absent", 3, "absent"},
		{"volume delete absent", 3, "absent"},
		{"copyset show 999999", 3, "999999"},
	} {
		stdout, stderr, status := ashlar(append(strings.Fields(m.args), "--data", c.dir)...)
		if status != m.status || !strings.Contains(stderr, m.want) || stdout != "" {
			t.Errorf("%s: status %d, want %d; %q; said %q", m.args, status, m.status, stdout,
				stderr)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err := nbd.Dial(ctx, c.nbdAddr(), "absent")
	if !errors.Is(err, nbd.ErrUnknownExport) {
		t.Errorf("unknown export: %v", err)
	}
	client := c.attach(c.url)
	defer client.Close()
	for _, r := range []struct {
		cmd  nbd.Cmd
		off  int64
		n    int64
		want nbd.Errno
	}{
		{nbd.CmdWrite, 64 << 20, 4096, nbd.ENOSPC},
		{nbd.CmdWrite, 64<<20 - 1, 2, nbd.ENOSPC},
		{nbd.CmdRead, 64 << 20, 1, nbd.EINVAL},
	} {
		if err := client.Do(r.cmd, 0, r.off, r.n, make([]byte, r.n)); !errors.Is(err, r.want) {
			t.Errorf("%v of %d at %d: %v, want %v", r.cmd, r.n, r.off, err, r.want)
		}
	}
	odd := []byte("not aligned to anything")
	got := make([]byte, len(odd))
	if _, err := client.WriteAt(odd, 16<<20-7); err != nil {
		t.Error(err)
	}
	if _, err := client.ReadAt(got, 16<<20-7); err != nil || !bytes.Equal(got, odd) {
		t.Errorf("%q, %v", got, err)
	}
	c.awaitFull() // leaders may be on their way to where they belong
	if s := c.status(); s.Health != "ok" {
		t.Errorf("the cluster is %s: %v", s.Health, s.Problems)
	}
	client.Close()
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) { // until the gateway let it go
		_, stderr, status := ashlar("volume", "delete", "vol", "--data", c.dir)
		if status == 0 {
			break
		}
		if time.Since(began) > readyWait {
			t.Fatalf("delete: status %d: %s", status, stderr)
		}
	}
	c.stop()
}

func TestStandardClientsAgreeOnTheBytes(t *testing.T) {
	skipShort(t)
	need(t, "nbdinfo", "nbdcopy", "qemu-img", "fio", "mke2fs")
	dir := t.TempDir()
	socket := filepath.Join(dir, "nbd.sock")
	c := start(t, filepath.Join(dir, "data"), "--volume", "vol", "--size", "128MiB",
		"--nbd-socket", socket)
	if out, stderr, status := ashlar("volume", "create", "second", "--size", "128MiB", "--data",
		c.dir); status != 0 {
		t.Fatal(out, stderr)
	}
	list := run(t, "nbdinfo", "--list", "nbd://"+c.nbdAddr())
	for _, want := range []string{`export="vol"`, `export="second"`} {
		if !strings.Contains(list, want) {
			t.Errorf("nbdinfo --list does not show %s:\n%s", want, list)
		}
	}
	image, back := filepath.Join(dir, "image"), filepath.Join(dir, "back")
	tree, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	run(t, "mke2fs", "-q", "-t", "ext4", "-d", filepath.Join(tree, "cmd"), image, "128M")

	run(t, "nbdcopy", "--flush", image, c.url)
	run(t, "nbdcopy", c.url, back)
	if sum(t, image) != sum(t, back) {
		t.Error("nbdcopy: other bytes came back")
	}
	unix := "nbd+unix:///second?socket=" + socket
	run(t, "qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image, unix)
	run(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", image, unix)
	run(t, "fio", "--name=verify", "--ioengine=nbd", "--uri="+c.url, "--rw=randwrite",
		"--bs=4k", "--iodepth=16", "--numjobs=4", "--size=16M", "--offset_increment=16M",
		"--verify=crc32c", "--do_verify=1", "--verify_fatal=1", "--verify_state_save=0")
	c.awaitFull()
	c.stop()
}

func sum(t *testing.T, path string) [sha256.Size]byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(text)
}
