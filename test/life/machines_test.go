package life

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"crypto"

	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/enrolltest/memcluster"
	"fleetctl/enroll/enrolltest/softtpm"
	"fleetctl/remote"
)

// release is the version of every tbot and of the clusters.
const release = "18.4.0"

// maker is a manufacturer of TPMs.
type maker struct {
	cert *x509.Certificate
	key  signer
	pem  []byte
}

// signer signs alike each time.
type signer struct{ *ecdsa.PrivateKey }

func (s signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.PrivateKey.Sign(nil, digest, opts)
}

// The time in which certificates are valid.
var (
	certsFrom  = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	certsUntil = time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)
)

// makers are the two manufacturers of every history.
var makers = sync.OnceValue(func() []*maker {
	var all []*maker
	for i, name := range []string{"Chips A", "Chips B"} {
		raw := make([]byte, 32)
		raw[31] = byte(i + 1)
		key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), raw)
		if err != nil {
			panic(err)
		}
		m := &maker{key: signer{key}}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name, Organization: []string{name}},
			NotBefore: certsFrom, NotAfter: certsUntil, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
		m.cert = m.sign(template, template, key.Public())
		m.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: m.cert.Raw})
		all = append(all, m)
	}
	return all
})

func (m *maker) sign(template, parent *x509.Certificate, public any) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, m.key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return cert
}

// board is a mainboard with its TPM.
type board struct {
	tpm    *softtpm.TPM
	ek     string
	serial string
}

// boards are made once: what a TPM is never changes.
var boards = struct {
	sync.Mutex
	made map[string]*board
}{made: map[string]*board{}}

// newBoard is board number n; of makes its certificate: 0 or 1, -1 for none.
func newBoard(n, of int) *board {
	boards.Lock()
	defer boards.Unlock()
	key := fmt.Sprint(n, " ", of)
	if b := boards.made[key]; b != nil {
		return b.copy()
	}
	tpm, err := softtpm.NewTPM(n)
	if err != nil {
		panic(err)
	}
	b := &board{tpm: tpm, ek: tpm.EKHash()}
	if of >= 0 {
		m := makers()[of]
		cert := m.sign(&x509.Certificate{
			SerialNumber: big.NewInt(int64(0x1000 + n)), NotBefore: certsFrom, NotAfter: certsUntil,
			KeyUsage: x509.KeyUsageKeyEncipherment, BasicConstraintsValid: true,
		}, m.cert, &tpm.Key.PublicKey)
		tpm.Cert, b.serial = cert.Raw, softtpm.SerialOf(cert)
	}
	boards.made[key] = b
	return b.copy()
}

// copy is the same board for another history.
func (b *board) copy() *board {
	tpm, err := softtpm.NewTPM(b.tpm.Number)
	if err != nil {
		panic(err)
	}
	tpm.Cert = b.tpm.Cert
	return &board{tpm: tpm, ek: b.ek, serial: b.serial}
}

// machine is a host of the fleet, whatever it is called.
type machine struct {
	id    int
	host  *enrolltest.Host
	board *board

	could   map[string]bool // the tokens that it has and that have admitted it: from then on they have to
	foreign bool            // its board is another one than it was enrolled with: what admits it does so by chance
	owed    map[string]bool // those of them that somebody else took from it
	was     string          // the token in its tbot.yaml when somebody looked last
	by      *actor          // who gave it that token last; nil: nobody of us
	scanned string          // the EK that a scan saw last
	joined  time.Time       // the cluster's time of its latest join or renewal
}

func (m *machine) String() string { return fmt.Sprintf("m%d", m.id) }

// newMachine is a host with an operating system and a tbot, to which nobody has done anything yet.
func (w *world) newMachine(b *board) *machine {
	m := &machine{id: len(w.machines), board: b}
	m.install(w)
	w.machines = append(w.machines, m)
	return m
}

// install is a new operating system.
func (m *machine) install(w *world) {
	m.host = enrolltest.NewHost(w.tb, m.String(), release)
	m.host.Cluster = joiner{w, m}
	m.host.With(func(s *enrolltest.State) { s.Clock = w.ahead })
	m.could, m.owed = map[string]bool{}, map[string]bool{}
	m.mount(m.board)
}

// mount puts another board in.
func (m *machine) mount(b *board) {
	m.board, m.host.TPM = b, b.tpm
	m.could, m.owed = map[string]bool{}, map[string]bool{}
}

// joiner is the cluster that a machine's tbot joins.
type joiner struct {
	w *world
	m *machine
}

// Join joins, and notes when.
func (j joiner) Join(r memcluster.JoinRequest) error {
	err := j.w.clusters[0].Join(r)
	if err == nil {
		j.m.joined = j.w.now()
	}
	return err
}

// request is what its tbot presents with a token.
func (m *machine) request(token string) memcluster.JoinRequest {
	return memcluster.JoinRequest{
		Host: m.host.Name, EKHash: m.board.ek, Serial: m.board.serial, Cert: m.board.tpm.Cert, Token: token, Tbot: release,
	}
}

var tokenLine = regexp.MustCompile(`(?m)^\s*token:\s*"?([^"\s]+)"?\s*$`)

// configured is the token in its tbot.yaml; "" for none.
func (m *machine) configured() (token string) {
	m.host.With(func(s *enrolltest.State) {
		if f := s.Files["/etc/tbot.yaml"]; f != nil {
			if found := tokenLine.FindSubmatch(f.Content); found != nil {
				token = string(found[1])
			}
		}
	})
	return token
}

// running is the token of the tbot that runs; "" where none does or it has not joined.
func (m *machine) running() (token string) {
	m.host.With(func(s *enrolltest.State) {
		if f := s.Files[filepath.Join(storage, "tlscert")]; f != nil && s.Service.State == "active" {
			token = string(f.Content)
		}
	})
	return token
}

// storage is where tbot keeps its state.
const storage = "/var/lib/teleport/bot"

// tokens are those that it needs: of its configuration, and of the tbot that runs.
func (m *machine) tokens() []string {
	c, r := m.configured(), m.running()
	switch {
	case c == "":
		return nil // nothing starts it again
	case r == "" || r == c:
		return []string{c}
	}
	return []string{c, r}
}

func (m *machine) up() (up bool) {
	m.host.With(func(s *enrolltest.State) { up = !s.Down })
	return up
}

// renew lets its tbot renew, or try a join again.
func (m *machine) renew(w *world) {
	if !m.up() || m.host.TPM.Err != nil {
		return
	}
	if token := m.running(); token != "" {
		_ = joiner{w, m}.Join(m.request(token)) // a refusal is what the checks have seen already
		return
	}
	m.host.Tick()
}

// boot starts its tbot anew, with what is configured now.
func (m *machine) boot() {
	conn, err := m.host.Connect()
	if err != nil || m.configured() == "" {
		return // it boots, and tbot starts, when it is up again: as a renewal does
	}
	_, _ = conn.Run(context.Background(), remote.Cmd{Script: "systemctl restart tbot.service", Become: true})
}
