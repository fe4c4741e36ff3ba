// Command auth is a stand-in for Teleport's auth service; see test/cluster/README.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"fleetctl/test/cluster"
	"fleetctl/test/cluster/versions"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:3025", "where tbot joins")
	data := flag.String("data-dir", "", "where the resources are; tctl's configuration names the same directory")
	var server cluster.Server
	flag.StringVar(&server.Version, "version", versions.Default, "which release to play")
	flag.BoolVar(&server.OSS, "oss", false, "play a cluster without the licence that the tpm join method needs")
	flag.BoolVar(&server.MFA, "mfa", false, "want a second factor for admin actions")
	flag.Parse()
	if err := run(*listen, *data, server); err != nil {
		fmt.Fprintln(os.Stderr, "auth:", err)
		os.Exit(1)
	}
}

func run(listen, data string, server cluster.Server) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	store, err := cluster.OpenStore(data)
	if err != nil {
		return err
	}
	if err := store.SetServer(server); err != nil {
		return err
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	auth := cluster.Auth{Store: store, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	auth.Log.Info("listening", "address", l.Addr().String(), "version", server.Version)
	return auth.Serve(ctx, l)
}
