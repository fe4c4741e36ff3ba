package lab

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"fleetctl/test/cluster"
	"fleetctl/test/cluster/versions"
)

// Cluster is what a lab's hosts join: the stand-ins, of some version, or what LAB_CLUSTER starts.
type Cluster struct {
	AuthAddr string         // host:port of the auth service
	Store    *cluster.Store // of the stand-in for the auth service
	dir      string         // teleport.yaml, for tctl, and auth.log
}

func (c Cluster) tctlConfig() string { return filepath.Join(c.dir, "teleport.yaml") }

// Real says whether the lab runs Teleport's own programs instead of the stand-ins.
func Real() bool {
	return os.Getenv("TBOT") != "" || os.Getenv("TCTL") != "" || os.Getenv("LAB_CLUSTER") != ""
}

// startCluster starts the lab's own cluster: that of the default version or, with a real tctl, what LAB_CLUSTER names.
func (l *Lab) startCluster() error {
	script := os.Getenv("LAB_CLUSTER")
	if script == "" {
		return l.start(&l.Cluster, l.Dir, versions.Default, authPort)
	}
	l.Cluster = Cluster{AuthAddr: net.JoinHostPort(bridgeIP, strconv.Itoa(authPort)), dir: l.Dir}
	if err := l.writeTctl(); err != nil {
		return err
	}
	cmd := l.Command(context.Background(), script)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
}

// Beside starts one more cluster, of a version, and returns the lab with that one instead of its own: the same hosts, and
// a tctl that speaks as that version. It goes with the lab.
func (l *Lab) Beside(version string) (*Lab, error) {
	if Real() {
		return nil, errors.New("the lab has the stand-ins' clusters alone beside its own")
	}
	dir := filepath.Join(l.Dir, "clusters", version)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	others, err := os.ReadDir(filepath.Dir(dir))
	if err != nil {
		return nil, err
	}
	beside := *l
	beside.stop = nil
	err = beside.start(&beside.Cluster, dir, version, authPort+len(others))
	l.stop = append(l.stop, beside.stop...)
	return &beside, err
}

// start starts the stand-in for the auth service.
func (l *Lab) start(c *Cluster, dir, version string, port int) error {
	*c = Cluster{AuthAddr: net.JoinHostPort(bridgeIP, strconv.Itoa(port)), dir: dir}
	data := filepath.Join(dir, "cluster")
	_ = os.RemoveAll(data)
	var err error
	if c.Store, err = cluster.OpenStore(data); err != nil {
		return err
	}
	if err := errors.Join(l.writeTctl(), c.Store.SetServer(cluster.Server{Version: version})); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, "auth.log"))
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", c.AuthAddr)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	auth := cluster.Auth{Store: c.Store, Log: slog.New(slog.NewTextHandler(log, nil))}
	go func() {
		defer close(done)
		_ = auth.Serve(ctx, listener)
	}()
	l.stop = append(l.stop, func() {
		cancel()
		<-done
		_ = log.Close()
	})
	return nil
}

// tbotLayer returns a layer with the tbot of a version ("" for the default one), and makes it if there is none.
func (l *Lab) tbotLayer(version string) (string, error) {
	if version == "" {
		version = versions.Default
	}
	dir := filepath.Join(labDir, "tbot", version)
	bin := filepath.Join(dir, "usr/local/bin")
	path := filepath.Join(bin, "tbot")
	if _, err := os.Stat(path); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return "", err
	}
	return dir, WriteTbot(path, version)
}

// WriteTbot writes a tbot of a version to a path; with a real tbot, that.
func WriteTbot(path, version string) error {
	tbot := filepath.Join(os.Getenv(envBin), "tbot")
	if os.Getenv("TBOT") != "" {
		return command("install", "-m", "0755", tbot, path)
	}
	return versions.Stamp(tbot, path, version, "oss")
}
