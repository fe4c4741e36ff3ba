package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fleetctl/enroll/enrolltest/memcluster"
)

// The variables by which commands in a process of their own find the world of the test.
const (
	envTctlSocket = "FLEETCTL_TEST_TCTL"
	envHelpers    = "FLEETCTL_TEST_HELPERS"
)

// tctlCall is one run of tctl, and tctlAnswer what came of it, as they go over the socket.
type (
	tctlCall struct {
		Args  []string
		Stdin []byte
	}
	tctlAnswer struct {
		Stdout, Stderr []byte
		Code           int
	}
)

// tctlMain is the tctl of the scripts: it lets the cluster in the test's memory answer.
func tctlMain() {
	answer, err := callTctl(os.Getenv(envTctlSocket), os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "ERROR:", err)
		os.Exit(1)
	}
	_, _ = os.Stdout.Write(answer.Stdout)
	_, _ = os.Stderr.Write(answer.Stderr)
	os.Exit(answer.Code)
}

func callTctl(socket string, args []string) (answer tctlAnswer, err error) {
	if socket == "" {
		return answer, errors.New("this script has no cluster: it did not say \"fleet\"")
	}
	call := tctlCall{Args: slices.Clone(args)}
	for i, arg := range args {
		if i > 0 && args[0] == "create" && !strings.HasPrefix(arg, "-") {
			if call.Args[i], err = filepath.Abs(arg); err != nil { // the cluster stands in another directory
				return answer, err
			}
		}
	}
	if call.Stdin, err = io.ReadAll(os.Stdin); err != nil {
		return answer, err
	}
	c, err := net.Dial("unix", socket)
	if err != nil {
		return answer, err
	}
	defer c.Close()
	if err := json.NewEncoder(c).Encode(call); err != nil {
		return answer, err
	}
	return answer, json.NewDecoder(c).Decode(&answer)
}

// serveTctl answers tctl on a socket until the test ends, and returns the socket's path.
func serveTctl(t testing.TB, cluster *memcluster.Cluster) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tctl") // a short one: a socket's path has 107 bytes at most
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answerTctl(t, cluster, c)
		}
	}()
	return l.Addr().String()
}

func answerTctl(t testing.TB, cluster *memcluster.Cluster, c net.Conn) {
	defer c.Close()
	var call tctlCall
	if err := json.NewDecoder(c).Decode(&call); err != nil {
		return // the client was killed
	}
	var a tctlAnswer
	a.Stdout, a.Stderr, a.Code = cluster.Run(t.Context(), call.Stdin, call.Args)
	_ = json.NewEncoder(c).Encode(a) // a client that is gone needs no answer
}
