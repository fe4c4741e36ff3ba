package chaos

import (
	"encoding/json"
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

// TestMain is tctl, too: a link of that name to the test's program asks the cluster in the test's memory.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "tctl" {
		os.Exit(tctl())
	}
	os.Exit(m.Run())
}

// envSocket is where tctl finds the cluster.
const envSocket = "CHAOS_CLUSTER"

// call is one run of tctl, and answer what came of it.
type (
	call struct {
		Args  []string
		Stdin []byte
	}
	answer struct {
		Stdout, Stderr []byte
		Code           int
	}
)

func tctl() int {
	a, err := ask(os.Getenv(envSocket), os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "ERROR:", err)
		return 1
	}
	_, _ = os.Stdout.Write(a.Stdout)
	_, _ = os.Stderr.Write(a.Stderr)
	return a.Code
}

func ask(socket string, args []string) (a answer, err error) {
	c := call{Args: slices.Clone(args)}
	for i, arg := range args {
		if i > 0 && args[0] == "create" && !strings.HasPrefix(arg, "-") {
			if c.Args[i], err = filepath.Abs(arg); err != nil {
				return a, err
			}
		}
	}
	if c.Stdin, err = io.ReadAll(os.Stdin); err != nil {
		return a, err
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return a, err
	}
	defer func() { _ = conn.Close() }()
	if err := json.NewEncoder(conn).Encode(c); err != nil {
		return a, err
	}
	return a, json.NewDecoder(conn).Decode(&a)
}

// serve lets a cluster answer tctl until the test ends, and returns the environment for it.
func serve(t *testing.T, cluster *memcluster.Cluster) []string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tctl") // a short one: a socket's path has 107 bytes at most
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(self, filepath.Join(dir, "tctl"))
	}
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				var c call
				if json.NewDecoder(conn).Decode(&c) != nil {
					return // who asked was killed
				}
				var a answer
				a.Stdout, a.Stderr, a.Code = cluster.Run(t.Context(), c.Stdin, c.Args)
				_ = json.NewEncoder(conn).Encode(a)
			}()
		}
	}()
	return []string{"PATH=" + dir + ":" + os.Getenv("PATH"), envSocket + "=" + l.Addr().String()}
}
