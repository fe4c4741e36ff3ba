package remote_test

import (
	"crypto/rand"
	"crypto/sha256"
	"testing"

	"fleetctl/remote"
)

// BenchmarkHandshakeAndRun dials an in-process host, runs one command and hangs up; client and server in one process.
func BenchmarkHandshakeAndRun(b *testing.B) {
	hosts := startFleet(b, 1, nil)
	d := newDialer(b, remote.Options{Logf: func(string, ...any) {}})
	for b.Loop() {
		if err := runOnce(b.Context(), d, hosts.target(0), "x"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRun runs a command over a connection that is there.
func BenchmarkRun(b *testing.B) {
	hosts := startFleet(b, 1, nil)
	c := dialTest(b, remote.Options{Logf: func(string, ...any) {}}, hosts.target(0))
	for b.Loop() {
		if _, err := c.Run(b.Context(), remote.Cmd{Script: "echo x"}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPush pushes and runs 2 MiB over a connection that is there, checked by SHA-256 on the host.
func BenchmarkPush(b *testing.B) {
	hosts := startFleet(b, 1, nil)
	c := dialTest(b, remote.Options{Logf: func(string, ...any) {}}, hosts.target(0))
	data := make([]byte, 2<<20)
	_, _ = rand.Read(data)
	copy(data, "#!/bin/sh\nexit 0\n")
	p := remote.Payload{Name: "helper", Data: data, SHA256: sha256.Sum256(data)}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		proc, err := c.StartPayload(b.Context(), p)
		if err != nil {
			b.Fatal(err)
		}
		_ = proc.Stdin.Close()
		if code, _, err := proc.Wait(); code != 0 || err != nil {
			b.Fatal(code, err)
		}
	}
}
