package records

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"fleetctl/enroll/claim"
	"fleetctl/enroll/config"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tpm"
	"fleetctl/remote"
)

// ViaImport marks an identity that came from a file.
const ViaImport = "import"

// maxIdentifyText bounds the output of one "tbot tpm identify".
const maxIdentifyText = 64 << 10

// ImportOptions of ImportRecords.
type ImportOptions struct {
	Host        string      // whose identity it is, where the file does not say so
	TrustProofs bool        // what an export says was proven is recorded as proven, and how it was seen
	Fleet       claim.Fleet // what the inventory says of names
	Run         int64       // of the store
	Now         time.Time   // zero: now
}

// Import records identities that were found without SSH: the text that "tbot tpm identify" or "identify -text"
// prints for one host (opts.Host says which), or JSON objects one after the other (also as one array, or as the list of a
// document): what "identify -json" prints, to which a key "host" may have been added, what "records export" prints, or
//
//	{"host": "web-01", "ek_public_hash": "…", "ek_certificate_serial": "5e:cd", "ek_certificate": "base64 of DER"}
//
// A host that "identify -json" does not name is the one that it calls itself. Such identities are unproven: they are
// accepted only where none is. With opts.TrustProofs the proofs of an export are taken over, which is how records are restored:
// whoever could write to the file decides then what counts as proven. The results are one a host, in the order of the file,
// as if there were no other hosts with the same EK: claim.JudgeResults says what those are to each other. The error is of the file
// (ErrInput) or the records.
func Import(ctx context.Context, st store.Store, r io.Reader, opts ImportOptions) ([]outcome.Result, error) {
	i := importer{st: st, opts: opts}
	err := i.file(ctx, r)
	err = errors.Join(err, i.flush(ctx)) // what was read before an error is recorded
	return i.results, err
}

// importer records the entries of a file, many in a commit.
type importer struct {
	st      store.Store
	opts    ImportOptions
	results []outcome.Result

	waiting []store.Observation
	of      []int // the results of those that wait
}

// manyEntries share a commit: one costs more than they do.
const manyEntries = 256

func (i *importer) file(ctx context.Context, r io.Reader) error {
	if i.opts.Now.IsZero() {
		i.opts.Now = time.Now()
	}
	in := bufio.NewReader(r)
	first, err := firstByte(in)
	if err != nil {
		return err
	}
	if first != '{' && first != '[' {
		entry, err := parseIdentifyText(in)
		if err != nil {
			return err
		}
		return i.add(ctx, entry)
	}
	document, err := openDocument(in)
	if err != nil {
		return err
	}
	read := false
	for entry, err := range importEntries(&objectReader{in: in, document: document}) {
		if err != nil {
			return err
		}
		read = read || !entry.unread
		if err := i.add(ctx, entry); err != nil {
			return err
		}
	}
	if len(i.results) > 0 && !read { // it is a file of something else
		why := i.results[0].Message
		i.results = nil
		return &outcome.InputError{Msg: why}
	}
	return nil
}

// add takes in an entry. The error is of the records; what is wrong with the entry is in its result.
func (i *importer) add(ctx context.Context, e importEntry) error {
	r, o := e.observe(i.opts)
	i.results = append(i.results, r)
	if o == nil {
		return nil
	}
	i.of, i.waiting = append(i.of, len(i.results)-1), append(i.waiting, *o)
	if len(i.waiting) < manyEntries {
		return nil
	}
	return i.flush(ctx)
}

// flush records what waits. What could not be recorded has no result.
func (i *importer) flush(ctx context.Context) error {
	if len(i.waiting) == 0 {
		return nil
	}
	verdicts, err := i.st.PutAll(ctx, i.waiting)
	if err != nil {
		i.results = i.results[:i.of[0]]
	}
	for n, v := range verdicts {
		i.results[i.of[n]] = outcome.Judge(i.results[i.of[n]], v)
	}
	i.of, i.waiting = nil, nil
	if err != nil {
		return fmt.Errorf("records: %w", err)
	}
	return nil
}

// firstByte looks at the first byte that is no space, and drops a byte order mark.
func firstByte(in *bufio.Reader) (byte, error) {
	if mark, err := in.Peek(3); err == nil && bytes.Equal(mark, []byte("\xef\xbb\xbf")) {
		_, _ = in.Discard(3)
	}
	for {
		b, err := in.ReadByte()
		if errors.Is(err, io.EOF) {
			return 0, &outcome.InputError{Msg: "there is nothing to import",
				Hint: "the output of \"tbot tpm identify\" or \"identify -json\" is wanted"}
		}
		if err != nil {
			return 0, err
		}
		if strings.IndexByte(" \t\r\n", b) < 0 {
			return b, in.UnreadByte()
		}
	}
}

// importEntry is one host of a file.
type importEntry struct {
	Host string `json:"host"`
	importIdentity
	Identity *importIdentity   `json:"identity"` // where the identity is a part of its own
	Accepted *exportedIdentity `json:"accepted"` // as records are exported
	TPM      json.RawMessage   `json:"properties"`
	Last     *struct {
		TPM json.RawMessage `json:"tpm"`
	} `json:"last"`

	hostname string // what the host calls itself
	err      error  // why there is no identity
	unread   bool   // nor anything else: it is no object of ours
}

type importIdentity struct {
	EKHash   string `json:"ek_public_hash"`
	EKSerial string `json:"ek_certificate_serial"`
	EKPub    []byte `json:"ek_public"`
	EKCert   []byte `json:"ek_certificate"`
}

// exportedIdentity is one of which an export says how it came to be known.
type exportedIdentity struct {
	importIdentity
	Proven bool   `json:"proven"`
	Via    string `json:"via"`
}

// importEntries reads objects, or one array of them, one at a time. What is wrong with one is its own: those behind it are read.
func importEntries(objects *objectReader) func(yield func(importEntry, error) bool) {
	return func(yield func(importEntry, error) bool) {
		for n := 1; ; n++ {
			raw, err := objects.next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil && !errors.Is(err, errObject) {
				yield(importEntry{}, err)
				return
			}
			var e importEntry
			if err == nil {
				e, err = parseEntry(raw)
			}
			if err != nil {
				e = importEntry{err: fmt.Errorf("object %d: %w", n, err), unread: true}
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

func parseEntry(raw json.RawMessage) (e importEntry, err error) {
	var facts struct {
		Version *int `json:"fleetctl_identify"`
	}
	if json.Unmarshal(raw, &facts) == nil && facts.Version != nil {
		return parseIdentifyFacts(raw)
	}
	return e, json.Unmarshal(raw, &e)
}

// parseIdentifyFacts judges what "identify -json" printed, as a scan would.
func parseIdentifyFacts(raw []byte) (importEntry, error) {
	facts, err := tpm.ParseIdentifyJSON(raw)
	if err != nil {
		return importEntry{}, err
	}
	e := importEntry{Host: facts.Host, hostname: facts.Raw.Hostname}
	report, err := tpm.Judge(facts.Raw, tpm.ExamineOptions{})
	if err != nil {
		e.err = err
		return e, nil
	}
	id := report.Identity
	e.importIdentity = importIdentity{EKHash: id.Hash, EKSerial: id.Serial, EKPub: id.PublicDER, EKCert: id.CertDER}
	e.TPM, err = json.Marshal(tpm.Details{Properties: report.Properties, Findings: report.Findings})
	return e, err
}

// parseIdentifyText reads what "tbot tpm identify" prints, of both versions.
func parseIdentifyText(r io.Reader) (e importEntry, err error) {
	text, err := io.ReadAll(io.LimitReader(r, maxIdentifyText+1))
	if err != nil {
		return e, err
	}
	const hint = "the output of \"tbot tpm identify\" for one host, or JSON, is wanted"
	if len(text) > maxIdentifyText {
		return e, &outcome.InputError{Msg: "the text is too long for the output of \"tbot tpm identify\"", Hint: hint}
	}
	id, err := tpm.ParseIdentifyText(text)
	if err != nil {
		return e, &outcome.InputError{Msg: err.Error(), Hint: hint}
	}
	e.importIdentity = importIdentity{EKHash: id.Hash, EKSerial: id.Serial, EKPub: id.PublicDER, EKCert: id.CertDER}
	return e, nil
}

// observe makes an observation of an entry; nil where something is wrong with it, which the result says.
func (e importEntry) observe(opts ImportOptions) (outcome.Result, *store.Observation) {
	r := outcome.End(cmp.Or(e.Host, opts.Host, e.hostname), outcome.Failed, outcome.BadInput, "")
	if e.unread {
		r.Message = remote.Line(e.err.Error())
		return r, nil
	}
	if r.Host == "" {
		r.Message = "the file does not say which host this is"
		r.Hint = "name the host beside the file"
		return r, nil
	}
	if name := remote.Clean(r.Host); name != r.Host || len(name) > config.MaxName {
		r.Host = remote.Head(name, config.MaxName)
		r.Message = "its name is too long, or has characters that do not print"
		return r, nil
	}
	if e.Host != "" && opts.Host != "" && e.Host != opts.Host {
		r.Message = fmt.Sprintf("the file is of this host, not of %s", opts.Host)
		return r, nil
	}
	id, err := e.identity()
	if err != nil {
		r.Message = remote.Clean(err.Error())
		return r, nil
	}
	if opts.TrustProofs {
		e.restore(id)
	}
	r.Outcome, r.Code, r.EKHash, r.Serial, r.Proven = outcome.OK, outcome.Unproven, id.EKHash, id.EKSerial, id.Proven
	if id.Proven {
		r.Code = ""
	}
	return r, &store.Observation{
		Host: r.Host, Run: opts.Run, At: opts.Now, Outcome: string(outcome.OK), Status: string(r.Code), Identity: id, TPM: e.details(),
	}
}

// restore takes over what an export says of how its identity was seen. Nothing else says that it was proven.
func (e importEntry) restore(id *store.Identity) {
	if e.Accepted == nil || e.Accepted.EKHash != id.EKHash {
		return
	}
	proves, known := waysOfExports[e.Accepted.Via]
	if known {
		id.Via, id.Proven = e.Accepted.Via, e.Accepted.Proven && proves
	}
}

// waysOfExports are the ways by which records can have come to know an identity, and whether they can prove it.
var waysOfExports = map[string]bool{"helper": true, "shell": true, "tbot": false, ViaImport: false, "adopted": false}

// details returns what the file says of the TPM, if it is an object.
func (e importEntry) details() json.RawMessage {
	details := e.TPM
	if details == nil && e.Last != nil {
		details = e.Last.TPM
	}
	var d tpm.Details
	if json.Unmarshal(details, &d) != nil {
		return nil
	}
	d.EKCertNotAfter = tpm.Date(d.EKCertNotAfter)
	clean, err := json.Marshal(d) // what we know of it, and nothing else
	if err != nil {
		return nil
	}
	return clean
}

// identity checks that the parts of an entry belong together.
func (e importEntry) identity() (*store.Identity, error) {
	if e.err != nil {
		return nil, e.err
	}
	in := e.importIdentity
	if e.Identity != nil && in.EKHash == "" {
		in = *e.Identity
	}
	if e.Accepted != nil && in.EKHash == "" {
		in = e.Accepted.importIdentity
	}
	id := &store.Identity{EKHash: in.EKHash, EKSerial: in.EKSerial, EKPub: in.EKPub, Via: ViaImport}
	if len(in.EKCert) > 0 {
		if err := certify(id, in.EKCert); err != nil {
			return nil, err
		}
	}
	if len(id.EKPub) > 0 {
		sum := sha256.Sum256(id.EKPub)
		if hash := hex.EncodeToString(sum[:]); id.EKHash == "" {
			id.EKHash = hash
		} else if id.EKHash != hash {
			return nil, fmt.Errorf("its EKPub hash is %s, but that of the key it comes with is %s", id.EKHash, hash)
		}
	}
	switch {
	case !store.ValidEKHash(id.EKHash):
		return nil, fmt.Errorf("%q is no EKPub hash: it has 64 lower-case hex digits", id.EKHash)
	case id.EKSerial != "" && !tpm.ValidSerial(id.EKSerial):
		return nil, fmt.Errorf("%q is no EKCert serial: it has the form 5e:cd:5f:8e", id.EKSerial)
	}
	return id, nil
}

// certify takes an EK certificate into an identity as a scan does, padding and all: one that tbot would not present leaves
// the bare EK, if the entry tells it.
func certify(id *store.Identity, nv []byte) error {
	found, err := tpm.EKCertIdentity(nv)
	switch {
	case errors.Is(err, tpm.ErrIdentity):
		return fmt.Errorf("tbot cannot use the key of its EK certificate, so that the host cannot join by the tpm method: %w", err)
	case err != nil && (id.EKSerial != "" || id.EKHash == "" && len(id.EKPub) == 0):
		return fmt.Errorf("its EK certificate cannot be read, so tbot does not present it: %w", err)
	case err != nil:
		return nil
	case id.EKSerial != "" && id.EKSerial != found.Serial:
		return fmt.Errorf("its EK certificate has serial %s, not %s", found.Serial, id.EKSerial)
	}
	id.EKSerial, id.EKPub, id.EKCert = found.Serial, found.PublicDER, found.CertDER
	return nil
}
