package report

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"time"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tpm"
)

// maker is a manufacturer of TPMs.
type maker struct {
	code, chip string
	firmware   []string
	issuers    []string // of EK certificates; none: its TPMs have none
}

var makers = []maker{
	{"IFX", "SLB9672", []string{"15.23.17664.0", "15.24.18489.0", "16.10.16488.0"}, []string{
		"Infineon OPTIGA(TM) TPM 2.0 RSA CA 066", "Infineon OPTIGA(TM) TPM 2.0 RSA CA 067", "Infineon OPTIGA(TM) TPM 2.0 ECC CA 042"}},
	{"STM", "ST33HTPHAHD4", []string{"1.258", "1.769"}, []string{"STM TPM EK Intermediate CA 06", "STSAFE RSA CA 01"}},
	{"INTC", "INTEL", []string{"600.18.34.0", "500.16.0.0"}, []string{"ODCA_CA2_CSME_Indirect"}},
	{"AMD", "AMD", []string{"6.32.0.6", "3.90.2.5"}, []string{"PRG-RN"}},
	{"NTC", "NPCT75x", []string{"7.2.3.1"}, []string{"Nuvoton TPM Root CA 2111"}},
	{"IBM", "SW TPM", []string{"8215.1.1.0"}, nil},
}

// groups are the names of hosts: one name a role and place, then a number.
var groups = []string{"web", "db", "cache", "build", "edge-ams", "edge-fra", "edge-sin", "gpu", "kiosk"}

// fleet is records in the making.
type fleet struct {
	store store.Store
	size  int
	certs [][][]byte // by maker: some certificates in DER
}

// makeRecords fills a new file with the records of a fleet of so many hosts that has lived for half a year: most are well, some of
// everything is not. It returns the names of the hosts that an inventory of today has.
func makeRecords(ctx context.Context, path string, size int) (inventory []string, err error) {
	st, err := store.OpenWith(ctx, path, store.Options{Actor: store.Actor{By: "ada@ops-1", Reason: "nightly"}})
	if err != nil {
		return nil, err
	}
	f := &fleet{store: st, size: size}
	for _, m := range makers {
		certs, err := certificates(m.issuers)
		if err != nil {
			return nil, err
		}
		f.certs = append(f.certs, certs)
	}
	for _, step := range []func(context.Context) error{f.bind, f.scans, f.publish, f.enroll, f.people} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	if err := st.Close(); err != nil {
		return nil, err
	}
	for i := range size {
		if i%97 != 13 { // some have left
			inventory = append(inventory, f.name(i))
		}
	}
	return append(inventory, "new-001", "new-002"), backdate(ctx, path)
}

func (f *fleet) name(i int) string {
	return fmt.Sprintf("%s-%0*d.example.com", groups[i%len(groups)], len(fmt.Sprint(f.size)), i/len(groups)+1)
}

func hashOf(i int) string { return fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, "ek", i))) }

func (f *fleet) maker(i int) int { return []int{0, 0, 0, 1, 1, 2, 2, 3, 4, 5}[i%10] }

func (f *fleet) bind(ctx context.Context) error {
	return f.store.Bind(ctx, store.Bound{Fleet: "europe", Cluster: "teleport.example.com"})
}

// runsOfScans is in how many runs the fleet became as large as it is.
const runsOfScans = 12

// scans record every host once, and all again in the last run.
func (f *fleet) scans(ctx context.Context) error {
	for r := range runsOfScans {
		if err := f.scan(ctx, r*f.size/runsOfScans, (r+1)*f.size/runsOfScans, false); err != nil {
			return err
		}
	}
	return f.scan(ctx, 0, f.size, true)
}

// scan is a run over some hosts; in the last run some are not well.
func (f *fleet) scan(ctx context.Context, from, to int, last bool) error {
	run, err := f.store.BeginRun(ctx, "scan", to-from)
	if err != nil {
		return err
	}
	next, failed := make(chan int), make(chan error, 64)
	var all sync.WaitGroup
	for range cap(failed) {
		all.Go(func() {
			for i := range next {
				if _, err := f.store.Put(ctx, f.observation(i, run, last)); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	for i := from; i < to && len(failed) == 0; i++ {
		next <- i
	}
	close(next)
	all.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return f.store.EndRun(ctx, run, store.StateDone)
	}
}

// observation is what a run saw of a host.
func (f *fleet) observation(i int, run int64, last bool) store.Observation {
	m := makers[f.maker(i)]
	id := &store.Identity{EKHash: hashOf(i), Proven: i%41 != 7, Via: []string{"helper", "helper", "helper", "shell", "tbot"}[i%5]}
	details := tpm.Details{Properties: tpm.Properties{
		Manufacturer: m.code, Vendor: m.chip, Firmware: m.firmware[i/10%len(m.firmware)], SpecRevision: "1.59",
		Device: "/dev/tpmrm0", KeyType: "RSA-2048",
	}}
	if certs := f.certs[f.maker(i)]; len(certs) > 0 {
		id.EKCert, id.EKSerial = certs[i/10%len(certs)], fmt.Sprintf("5e:cd:%02x:%02x", i>>8&0xff, i&0xff)
	}
	if i%53 == 20 {
		details.Findings = append(details.Findings, tpm.Finding{
			Code: "owner-auth", Fatal: true, Message: "the owner hierarchy has a password", Hint: "clear it"})
	}
	o := store.Observation{Host: f.name(i), Run: run, At: time.Now(), Outcome: string(outcome.OK), Identity: id}
	if last {
		f.trouble(i, &o)
	}
	if o.Identity != nil {
		o.TPM, _ = json.Marshal(details) // of strings alone
	}
	return o
}

// trouble is what happens to some hosts.
func (f *fleet) trouble(i int, o *store.Observation) {
	end := func(how outcome.Outcome, code outcome.Code, message string) {
		o.Outcome, o.Status, o.Message = string(how), string(code), message
		o.Identity = nil
	}
	switch {
	case i%101 == 3:
		end(outcome.Unreachable, outcome.ConnectFailed, "dial tcp 192.0.2.17:22: connect: no route to host")
	case i%151 == 4:
		end(outcome.Failed, outcome.BecomeFailed, "sudo: a password is required")
	case i%199 == 5:
		end(outcome.Failed, outcome.HostKeyChanged, "known_hosts has another ssh-ed25519 key of the host")
	case i%499 == 6: // a new board
		o.Identity.EKHash = hashOf(i + 1_000_000)
	case i%997 == 9: // a copy
		o.Identity.EKHash = hashOf(i - 1)
	case i == 11:
		end(outcome.Failed, outcome.General, "\x1b[2J<script>document.title='owned'</script>\u202eevil \"quoted\" 'words' & more")
	}
}

// publish assigns tokens of 1,000 hosts and notes their rules.
func (f *fleet) publish(ctx context.Context) error {
	run, err := f.store.BeginRun(ctx, "tokens", 0)
	if err != nil {
		return err
	}
	p := store.Publication{Assign: map[string]string{}, Epoch: 1}
	for i := range f.size {
		name := token(i)
		if i%1000 == 0 {
			p.Tokens = append(p.Tokens, store.Token{Name: name, Kind: "bot", Bot: "fleet", CAsKnown: true, Epoch: 1})
		}
		p.Assign[f.name(i)] = name
		p.Rules = append(p.Rules, store.Rule{Token: name, EKHash: hashOf(i), Host: f.name(i), Seen: true})
		p.Ways = append(p.Ways, store.Way{EKHash: hashOf(i), Token: name, Evidence: store.ByInstall, Run: run})
	}
	p.Rules = append(p.Rules, store.Rule{Token: token(0), EKHash: hashOf(-1), Host: "lab-07.example.com", Seen: true})
	if err := f.store.Publish(ctx, p); err != nil {
		return err
	}
	return f.store.EndRun(ctx, run, store.StateDone)
}

func token(i int) string {
	if i < 1000 {
		return "fleet"
	}
	return fmt.Sprintf("fleet-%d", i/1000+1)
}

// enroll installs tbot on most hosts, which then join.
func (f *fleet) enroll(ctx context.Context) error {
	run, err := f.store.BeginRun(ctx, "enroll", f.size)
	if err != nil {
		return err
	}
	joins := map[string]time.Time{}
	for i := range f.size {
		if i%29 == 10 {
			continue // not yet
		}
		at := time.Now().Add(-time.Duration(i%200) * 6 * time.Hour)
		in := &store.Installed{At: at, Token: token(i), TbotVersion: []string{"18.4.0", "18.3.2"}[i%7/6], Run: run}
		switch {
		case i%211 == 1:
			in.State, in.Step = store.HostFailed, "/etc/tbot.yaml"
		case i%173 != 2:
			in.JoinedAt, in.JoinedWith, in.JoinedRun = &at, in.Token, run
			joins[hashOf(i)] = at
		}
		if err := f.store.SetInstalled(ctx, f.name(i), in); err != nil {
			return err
		}
	}
	if err := f.store.LookedAt(ctx, run, joins); err != nil {
		return err
	}
	return f.store.EndRun(ctx, run, store.StateDone)
}

// people accept, disable and remove.
func (f *fleet) people(ctx context.Context) error {
	run, err := f.store.BeginRun(ctx, "records disable", 0)
	if err != nil {
		return err
	}
	var out []store.Machine
	for i := 16; i < f.size; i += 307 {
		out = append(out, store.Machine{EKHash: hashOf(i), Host: f.name(i), State: store.Disabled, Run: run,
			By: "ada@ops-1", Why: "OPS-4711: in repair"})
	}
	if err := f.store.SetStates(ctx, "disable", out...); err != nil {
		return err
	}
	gone := store.Machine{EKHash: hashOf(-2), Host: "lab-03.example.com", State: store.Removed, Run: run,
		By: "grace@ops-2", Why: "stolen, case 2026/118"}
	if err := f.store.SetStates(ctx, "remove", gone); err != nil {
		return err
	}
	err = f.store.Note(ctx, store.Entry{Run: run, By: "grace@ops-2", Action: "accept", Host: f.name(2), EKHash: hashOf(2),
		Why: "new mainboard, ticket <OPS-99>"})
	return cmp.Or(err, f.store.EndRun(ctx, run, store.StateDone))
}

// backdate spreads the runs over half a year. The store dates runs by the clock, and nobody waits for months.
func backdate(ctx context.Context, path string) error {
	db, err := sql.Open("sqlite", path) // the driver is the store's
	if err != nil {
		return err
	}
	const week = int64(7 * 24 * time.Hour / time.Microsecond)
	for _, statement := range []string{
		fmt.Sprintf("UPDATE runs SET started = started - (%d - id) * 2 * %d WHERE id <= %[1]d", runsOfScans+1, week),
		"UPDATE runs SET ended = started + (1 + hosts) * 9000 WHERE ended > 0",
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return db.Close()
}

// certificates are some of each issuer, which end at different times: most of them in many years, some soon.
func certificates(issuers []string) (all [][]byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	for n, issuer := range issuers {
		name := pkix.Name{CommonName: issuer, Organization: []string{strings.Fields(issuer)[0]}}
		ca := &x509.Certificate{Subject: name, SerialNumber: big.NewInt(1)}
		for i := range 25 {
			end := now.AddDate(8+i%12, i, 0)
			if i%5 == n%5 {
				end = now.AddDate(0, i-1, 3)
			}
			cert := &x509.Certificate{
				SerialNumber: big.NewInt(int64(i + 2)), NotBefore: now.AddDate(-6, 0, 0), NotAfter: end,
				IssuingCertificateURL: []string{"http://pki.example.com/" + strings.ReplaceAll(issuer, " ", "_") + ".crt"},
			}
			der, err := x509.CreateCertificate(rand.Reader, cert, ca, key.Public(), key)
			if err != nil {
				return nil, err
			}
			all = append(all, der)
		}
	}
	return all, nil
}
