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
)

func main() {
	listen := flag.String("listen", "127.0.0.1:3025", "where tbot joins")
	data := flag.String("data-dir", "", "where the resources are; tctl's configuration names the same directory")
	flag.Parse()
	if err := run(*listen, *data); err != nil {
		fmt.Fprintln(os.Stderr, "ERROR:", err)
		os.Exit(1)
	}
}

func run(listen, data string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	store, err := cluster.OpenStore(data)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	auth := cluster.Auth{Store: store, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	auth.Log.Info("listening", "address", l.Addr().String())
	return auth.Serve(ctx, l)
}
