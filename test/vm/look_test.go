//go:build vm

package vm

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-attestation/attest"

	"fleetctl/test/vm/held"
)

// device says who may do what with the machine's TPM: mode, owner and group of its two nodes.
func (f fleet) device() string {
	f.t.Helper()
	return f.root("stat -c '%a %U:%G' /dev/tpm0 /dev/tpmrm0 | paste -s -d ' '")
}

// What device says as the kernel makes the nodes, and once the group may use the resource manager.
const (
	rootsAlone = "600 root:root 600 root:root"
	groups     = "600 root:root 660 root:tss"
)

func (f fleet) deviceIs(want string) {
	f.t.Helper()
	if got := f.device(); got != want {
		f.t.Errorf("the TPM is %s, want %s", got, want)
	}
}

// within reads what the TPM holds beneath the kernel's resource manager: what that keeps for somebody shows as sessions.
func (f fleet) within() held.Contents {
	f.t.Helper()
	var c held.Contents
	if err := json.Unmarshal([]byte(f.root("held /dev/tpm0")), &c); err != nil {
		f.t.Fatal(err)
	}
	return c
}

// socket gives go-attestation a TPM's socket.
type socket struct{ net.Conn }

func (socket) MeasurementLog() ([]byte, error) { return nil, errors.New("no measurement log") }

// identity returns hash and serial as go-attestation reads them; the machine must be off.
func (f fleet) identity() (hash, serial string) {
	f.t.Helper()
	err := f.Off(func(path string) error {
		conn, err := net.Dial("unix", path)
		if err != nil {
			return err
		}
		defer conn.Close()
		tpm, err := attest.OpenTPM(&attest.OpenConfig{CommandChannel: socket{conn}})
		if err != nil {
			return err
		}
		eks, err := tpm.EKs()
		if err != nil {
			return err
		}
		der, err := x509.MarshalPKIXPublicKey(eks[0].Public)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(der)
		hash, serial = hex.EncodeToString(sum[:]), pairs(eks[0].Certificate.SerialNumber.Bytes())
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return hash, serial
}

// pairs writes bytes as a serial number is written: hexadecimal pairs with ":" between.
func pairs(b []byte) string {
	var list []string
	for _, x := range b {
		list = append(list, hex.EncodeToString([]byte{x}))
	}
	return strings.Join(list, ":")
}

// joined asks the cluster which TPMs have joined.
func (f fleet) joined() []string {
	f.t.Helper()
	out, err := exec.Command(filepath.Join(f.dir, "tctl"), "-c", filepath.Join(f.dir, "teleport.yaml"),
		"get", "bot_instance/fleet", "--format", "json").Output()
	if err != nil {
		f.t.Fatal(err)
	}
	var list []struct {
		Status struct {
			Latest []struct {
				Attrs struct {
					TPM struct {
						Hash string `json:"ek_pub_hash"`
					}
				} `json:"join_attrs"`
			} `json:"latest_authentications"`
		}
	}
	if err := json.Unmarshal(out, &list); err != nil {
		f.t.Fatalf("%v\n%s", err, out)
	}
	var hashes []string
	for _, instance := range list {
		for _, latest := range instance.Status.Latest {
			hashes = append(hashes, latest.Attrs.TPM.Hash)
		}
	}
	slices.Sort(hashes)
	return slices.Compact(hashes)
}

// ready waits until tbot on the machine says that it is.
func (f fleet) ready() {
	f.t.Helper()
	f.root("tbot wait --diag-addr " + diagAddr + " --timeout 120s || { journalctl -u tbot -n 20 -o cat --no-pager >&2; exit 1; }")
}

// files lists what is on the machine's disk, a line a path with mode and owner, and of files the size, and the content of
// those in /etc. What a running machine writes by itself is left out.
func (f fleet) files() map[string]string {
	f.t.Helper()
	listing := f.root(`find / -xdev \( -path /tmp -o -path /var/tmp -o -path /var/log -o -path /var/lib/systemd -o -path /var/cache \
-o -path /etc/.pwd.lock \) -prune -o -type d -printf '%p %M %U:%G\n' -o -printf '%p %M %U:%G %s %l\n'
find /etc -type f ! -name .pwd.lock -exec sha256sum {} + | sed 's/^\([0-9a-f]*\)  \(.*\)/\2#content \1/'`)
	files := map[string]string{}
	for line := range strings.Lines(listing) {
		path, what, _ := strings.Cut(strings.TrimSpace(line), " ")
		files[path] = what
	}
	return files
}

// different lists the paths that differ between two listings.
func different(before, after map[string]string) []string {
	var paths []string
	for path, what := range after {
		if before[path] != what {
			paths = append(paths, "+ "+path+" "+what)
		}
	}
	for path := range before {
		if _, ok := after[path]; !ok {
			paths = append(paths, "- "+path)
		}
	}
	slices.Sort(paths)
	return paths
}
